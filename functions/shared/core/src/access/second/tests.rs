#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use proptest::prelude::*;

use super::*;
use crate::access::permission::{JOBS, Role};

fn party(name: &str) -> Party {
    let name: PrincipalName = name.parse().unwrap();
    Party { person: (&name).into(), name, epoch: 7, made_by: BTreeSet::new() }
}

fn made_by(name: &str, maker: &str) -> Party {
    Party { made_by: [maker.parse().unwrap()].into(), ..party(name) }
}

const JSON: &str = "application/json";

fn digest(by: &Party, path: &str, query: &str, content_type: &str, body: &[u8]) -> Fingerprint {
    let body = &ShownBody::of(body, &["reason"]);
    let call = Call { method: "POST", path, query, content_type: content_type.as_bytes(), body };
    call.digest(&by.name, by.epoch)
}

fn at(second: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(second).unwrap()
}

fn ask(operations: &[Operation]) -> Ask {
    let by = party("jane");
    let (path, body) = ("/jobs/7/waive", br#"{"reason":"scrapped"}"#);
    let digest = digest(&by, path, "", JSON, body);
    Ask {
        ask: AskId::new(&digest, [1; 6]),
        digest,
        operations: operations.iter().copied().collect(),
        by: by.name,
        epoch: by.epoch,
        person: by.person,
        method: "POST".to_owned(),
        path: path.to_owned(),
        query: String::new(),
        content_type: JSON.to_owned(),
        body: ShownBody::of(body, &["reason"]),
        about: JOBS.to_owned(),
        created: at(0),
        expires: at(0) + LIFETIME,
        carried_out: None,
        formerly: None,
    }
}

fn decided(verdict: Verdict) -> Decision {
    let by = party("john");
    Decision { verdict, by: by.name, epoch: 7, person: by.person, reason: None, at: at(10), expires: at(0) + LIFETIME }
}

#[test]
fn a_call_with_another_stored_rollout_is_another_call() {
    let by = party("jane");
    let of = |rollout: Option<&str>| {
        let body = ShownBody { rollout: rollout.map(str::to_owned), ..ShownBody::of(b"{}", &[]) };
        let call =
            Call { method: "PUT", path: "/signingCertificate", query: "rollout=a", content_type: &[], body: &body };
        call.digest(&by.name, by.epoch)
    };
    assert!(of(Some(r#"{"canary":2}"#)) == of(Some(r#"{"canary":2}"#)) && of(None) == of(None));
    assert!(of(Some(r#"{"canary":2}"#)) != of(Some(r#"{"canary":3}"#)) && of(Some("null")) != of(None));
}

#[test]
fn a_list_without_the_administration_of_access_is_refused() {
    let parse = |text: &str| text.parse::<TwoPersons>();
    assert!(parse("").unwrap().is_empty());
    let some = parse("export-key, administer-access").unwrap();
    assert!(some.contains(Operation::ExportKey) && !some.contains(Operation::Abort));
    assert_eq!(parse("export-key,regenerate"), Err(NotTwoPersons::AccessAlone));
    for unknown in ["export", "administer-access,", ",", " "] {
        assert!(matches!(parse(unknown), Err(NotTwoPersons::Operation(_))), "{unknown}");
    }
}

#[test]
fn whoever_may_act_as_both_is_one_person() {
    let second = |one: &Party, other: &Party| {
        assert_eq!(one.is_second_to(other), other.is_second_to(one));
        one.is_second_to(other)
    };
    assert!(second(&party("jane"), &party("john")));
    assert!(second(&party("jane"), &made_by("john", "root")));
    assert!(!second(&party("jane"), &party("jane")));
    assert!(!second(&party("jane"), &Party { epoch: 8, ..party("jane") }));
    assert!(!second(&party("jane"), &Party { person: "Jane".parse().unwrap(), ..party("jane-laptop") }));
    assert!(!second(&party("jane"), &party("JANE")), "names of persons have no case");
    assert!(!second(&party("jane"), &made_by("puppet", "jane")));
    assert!(!second(&made_by("puppet-1", "jane"), &made_by("puppet-2", "jane")));
}

#[test]
fn a_confirmation_needs_another_person_with_the_operation() {
    let needed = [Operation::Regenerate, Operation::Activate];
    let (ask, jane, john, all) = (ask(&needed), party("jane"), party("john"), Role::Administrator.into());
    assert_eq!(ask.can_be_confirmed(Some(&jane), &john, &all), Ok(()));
    assert_eq!(ask.can_be_confirmed(Some(&jane), &jane, &all), Err(NotSecond::SamePerson));
    assert_eq!(ask.can_be_confirmed(Some(&jane), &made_by("john", "jane"), &all), Err(NotSecond::SamePerson));
    let mut some = Grants::default();
    some.permit(Operation::Regenerate);
    some.add(format!("{JOBS}=read").parse().unwrap());
    assert_eq!(ask.can_be_confirmed(Some(&jane), &john, &some), Err(NotSecond::Lacks(Operation::Activate)));
    for gone in [None, Some(Party { epoch: 8, ..jane })] {
        assert_eq!(ask.can_be_confirmed(gone.as_ref(), &john, &all), Err(NotSecond::NobodyAsks));
    }
}

#[test]
fn who_cannot_read_the_object_cannot_decide() {
    let mut blind = Grants::default();
    blind.permit(Operation::Abort);
    let ask = ask(&[Operation::Abort]);
    assert!(!ask.is_up_to(&blind));
    let (jane, john) = (party("jane"), party("john"));
    assert_eq!(ask.can_be_confirmed(Some(&jane), &john, &blind), Err(NotSecond::Unseen));
    blind.add(format!("{JOBS}=read").parse().unwrap());
    assert_eq!((ask.is_up_to(&blind), ask.can_be_confirmed(Some(&jane), &john, &blind)), (true, Ok(())));
}

#[test]
fn a_forged_request_does_not_show_its_call() {
    let real = ask(&[Operation::Activate]);
    assert!(real.shows_its_call());
    let body = |change: fn(&mut ShownBody)| {
        let mut body = real.body.clone();
        change(&mut body);
        Ask { body, ..real.clone() }
    };
    let elsewhere = digest(&party("jane"), "/jobs/8/waive", "", JSON, br#"{"reason":"scrapped"}"#);
    for forged in [
        Ask { method: "PUT".to_owned(), ..real.clone() },
        Ask { path: "/jobs/8/waive".to_owned(), ..real.clone() },
        Ask { path: "/jobs/8/waive".to_owned(), digest: elsewhere, ..real.clone() },
        Ask { query: "a".to_owned(), ..real.clone() },
        Ask { content_type: String::new(), ..real.clone() },
        Ask { epoch: 8, ..real.clone() },
        body(|body| body.members = Some(r#"{"reason":"harmless"}"#.to_owned())),
        body(|body| body.members = None),
        body(|body| body.left_out = vec!["password".to_owned()]),
        body(|body| body.sha256 = Fingerprint::of(b"{}")),
        body(|body| body.bytes = 2),
    ] {
        assert!(!forged.shows_its_call(), "{forged:?}");
    }
}

#[test]
fn whoever_has_no_principal_is_somebody_all_the_same() {
    let arn = "arn:aws:iam::000000000000:user/Root";
    assert_eq!(Person::unknown("Ops"), "ops".parse().unwrap());
    assert_eq!(Person::unknown(arn), Person::unknown(arn));
    assert_ne!(Person::unknown(arn), Person::unknown("ops"));
    assert_eq!(Person::unknown(arn).to_string().parse(), Ok(Person::unknown(arn)), "it can be stored");
}

#[test]
fn a_request_ends_after_a_day_whatever_was_said() {
    let open = ask(&[Operation::Activate]);
    for (decision, state) in [
        (None, State::Open),
        (Some(decided(Verdict::Confirmed)), State::Confirmed),
        (Some(decided(Verdict::Rejected)), State::Rejected),
    ] {
        assert_eq!(open.state(decision.as_ref(), at(86_399)), state);
        assert_eq!(open.state(decision.as_ref(), at(86_400)), State::Expired);
        let done = Ask { carried_out: Some(at(20)), ..open.clone() };
        assert_eq!(done.state(decision.as_ref(), at(30)), State::CarriedOut);
    }
}

#[test]
fn a_call_is_the_same_if_all_its_parts_are() {
    let of = |by: &Party| digest(by, "/jobs/7/waive", "", JSON, b"{}");
    let jane = party("jane");
    let others = [
        digest(&jane, "/jobs/8/waive", "", JSON, b"{}"),
        digest(&jane, "/jobs/7/waive", "a", JSON, b"{}"),
        digest(&jane, "/jobs/7/waiv", "e", JSON, b"{}"),
        digest(&jane, "/jobs/7/waive", "", "", b"{}"),
        digest(&jane, "/jobs/7/waive", "", JSON, b"{} "),
        of(&party("john")),
        of(&Party { epoch: 8, ..party("jane") }),
    ];
    assert!(!others.contains(&of(&jane)));
    assert_eq!(of(&made_by("jane", "root")), of(&jane));
}

#[test]
fn an_id_has_the_place_of_its_call() {
    let digest = ask(&[]).digest;
    let (one, next) = (AskId::new(&digest, [1; 6]), AskId::new(&digest, [2; 6]));
    assert!(one != next && one.place() == next.place() && one.place() == AskId::place_of(&digest));
    assert_eq!(one.to_string().parse(), Ok(one.clone()));
    for text in ["", &one.to_string()[1..], &one.to_string().to_uppercase(), &"é".repeat(16)] {
        assert_eq!(text.parse::<AskId>(), Err(NotAnAskId), "{text}");
    }
}

#[test]
fn a_body_is_shown_without_what_may_be_secret() {
    let of = |body: &str| ShownBody::of(body.as_bytes(), &["name", "role"]);
    let shown = of(r#"{"name":"eve","p\u0061ssword":"s3cret","more":{"role":"s3cret"}}"#);
    assert_eq!(shown.members.as_deref(), Some(r#"{"name":"eve"}"#));
    assert_eq!(BTreeSet::from_iter(shown.left_out), ["more", "password"].map(str::to_owned).into());
    assert_eq!(of("").members.as_deref(), Some("{}"));
    for unshown in ["x", "[1]", "{", &format!(r#"{{"name":"{}"}}"#, "x".repeat(LIMIT))] {
        assert_eq!((of(unshown).members, of(unshown).bytes), (None, unshown.len() as u64), "{unshown:.20}");
    }
    assert_eq!(of("x").sha256, Fingerprint::of(b"x"));
}

const LIMIT: usize = 80 << 10;

proptest! {
    #[test]
    fn any_body_is_shown_within_bounds(body: Vec<u8>) {
        let shown = ShownBody::of(&body, &["name"]);
        prop_assert!(shown.members.is_none_or(|text| text.len() <= LIMIT) && shown.left_out.len() <= 20);
    }
}
