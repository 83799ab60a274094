#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's inputs are its own")]

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn grants(given: &[&str]) -> Grants {
    let mut grants = Grants::default();
    given.iter().for_each(|grant| grants.add(grant.parse().unwrap()));
    grants
}

#[test]
fn only_the_known_words_are_parsed() {
    for operation in Operation::ALL {
        assert_eq!(operation.to_string().parse(), Ok(*operation));
        assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
    }
    assert!("Export-Key".parse::<Operation>().unwrap_err().to_string().contains("export-key"));
    assert!("all".parse::<Right>().unwrap_err().to_string().contains("manage"));
    assert!("root".parse::<Role>().unwrap_err().to_string().contains("administrator"));
}

#[test]
fn a_right_on_a_device_is_for_its_exact_id() {
    for (granted, other) in [("case-x", "CASE-x"), ("CASE-x", "case-x")] {
        let grants = grants(&[&format!(r"\VED\policy\DEVICES\{granted}=write")]);
        for below in ["", r"\certificate", r"\CERTIFICATE"] {
            assert!(grants.allow(Right::Write, &format!(r"\ved\Policy\devices\{granted}{below}")), "{granted}");
            assert!(!grants.allow(Right::Write, &format!(r"\VED\Policy\Devices\{other}{below}")), "{other}");
        }
    }
    assert!(grants(&[r"\VED\Policy\a\Devices\X=read"]).allow(Right::Read, r"\VED\Policy\a\devices\x"));
}

#[test]
fn a_prefix_covers_whole_parts_in_any_case() {
    let grants = grants(&[r"\VED\policy\Web=read"]);
    for dn in [r"\VED\Policy\Web", r"\ved\POLICY\WEB\shop", r"\VED\Policy\web\a\b"] {
        assert!(grants.allow(Right::Read, dn) && !grants.allow(Right::Write, dn), "{dn}");
    }
    for dn in [r"\VED\Policy\Website", r"\VED\Policy", r"\VED\Policy\a\Web", r"VED\Policy\Web", "", r"\VED\Policy\\Web"]
    {
        assert!(!grants.allow(Right::Read, dn), "{dn}");
    }
}

#[test]
fn an_invalid_grant_is_refused_with_an_example() {
    for (text, why) in [
        (r"\VED\Policy", NotAGrant::Form),
        (r"\VED\Policy=", NotAGrant::Right(NotARight)),
        (r"\VED\Policy=read,", NotAGrant::Right(NotARight)),
        (r"\VED\Policy=Read", NotAGrant::Right(NotARight)),
        (r"\VED=read", NotAGrant::Prefix(NotADnPrefix)),
        (r"VED\Policy=read", NotAGrant::Prefix(NotADnPrefix)),
        (r"\VED\Policy\=read", NotAGrant::Prefix(NotADnPrefix)),
        (r"\VED\Policy\\Web=read", NotAGrant::Prefix(NotADnPrefix)),
        (r"\VED\Policy\ Web=read", NotAGrant::Prefix(NotADnPrefix)),
        (r"\VED\Policy\Wëb=read", NotAGrant::Prefix(NotADnPrefix)),
        (r"\VED\Discovery=read", NotAGrant::Prefix(NotADnPrefix)),
    ] {
        assert_eq!(text.parse::<Grant>(), Err(why), "{text}");
    }
    let text = r"\VED\Policy\Berlin 2=read,write";
    assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
}

#[test]
fn a_role_equals_its_rights_and_operations() {
    let [reader, operator, administrator] = [Role::Reader, Role::Operator, Role::Administrator].map(Grants::from);
    for dn in [EVERYTHING, ROOTS, JOBS, r"\VED\Policy\Servers\web"] {
        assert!(reader.allow(Right::Read, dn));
        for right in [Right::Write, Right::Create, Right::Delete] {
            assert!(!reader.allow(right, dn) && operator.allow(right, dn) && administrator.allow(right, dn));
        }
        assert!(!operator.allow(Right::Manage, dn) && administrator.allow(Right::Manage, dn));
    }
    for operation in Operation::ALL {
        assert!(!reader.may(*operation) && !operator.may(*operation) && administrator.may(*operation));
    }
}

#[test]
fn grants_round_trip_as_json() {
    let mut grants = grants(&[r"\VED\Policy\Servers=write,read"]);
    grants.permit(Operation::ExportKey);
    let json =
        serde_json::json!({ "rights": { r"\VED\Policy\Servers": ["read", "write"] }, "operations": ["export-key"] });
    assert_eq!(serde_json::to_value(&grants).unwrap(), json);
    assert_eq!(serde_json::from_value::<Grants>(json).unwrap(), grants);
    assert_eq!(serde_json::from_str::<Grants>("{}").unwrap(), Grants::default());
}

fn name() -> impl Strategy<Value = Vec<String>> {
    vec("[ab]{1,2}", 0..4)
}

fn dn(parts: &[String]) -> String {
    parts.iter().fold(EVERYTHING.to_owned(), |dn, part| format!(r"{dn}\{part}"))
}

fn grant() -> impl Strategy<Value = Grant> {
    let rights = btree_set(select(Right::ALL), 1..4);
    (name(), rights).prop_map(|(parts, rights)| Grant { prefix: dn(&parts).parse().unwrap(), rights })
}

proptest! {
    #[test]
    fn a_grant_never_applies_outside_its_prefix(prefix in name(), other in name(), right in select(Right::ALL), upper: bool) {
        let mut grants = Grants::default();
        grants.add(Grant { prefix: dn(&prefix).parse().unwrap(), rights: [Right::Manage].into() });
        let asked = if upper { dn(&other).to_uppercase() } else { dn(&other) };
        prop_assert_eq!(grants.allow(right, &asked), other.starts_with(&prefix));
    }

    #[test]
    fn adding_grants_never_removes_rights(
        some in vec(grant(), 0..4), more in vec(grant(), 0..4), asked in name(), right in select(Right::ALL),
    ) {
        let mut grants = Grants::default();
        some.into_iter().for_each(|grant| grants.add(grant));
        let before = grants.allow(right, &dn(&asked));
        more.into_iter().for_each(|grant| grants.add(grant));
        prop_assert!(!before || grants.allow(right, &dn(&asked)));
    }

    #[test]
    fn no_grant_gives_an_operation(some in vec(grant(), 0..6), operation in select(Operation::ALL)) {
        let mut grants = Grants::default();
        some.into_iter().for_each(|grant| grants.add(grant));
        prop_assert!(!grants.may(operation));
    }

    #[test]
    fn any_text_is_refused_or_round_trips_as_a_grant(text in r"(\\VED\\Policy)?[\\ a-z=,]{0,20}") {
        if let Ok(grant) = text.parse::<Grant>() {
            prop_assert_eq!(grant.to_string().parse::<Grant>(), Ok(grant));
        }
    }
}

fn reading(prefixes: &[&str]) -> Grants {
    let mut grants = Grants::default();
    prefixes.iter().for_each(|prefix| grants.add(format!("{prefix}=read").parse().unwrap()));
    grants
}

#[test]
fn devices_that_can_be_read_are_named_by_the_grants() {
    let named = |ids: &[&str]| DevicesSeen::Named(ids.iter().map(|id| id.parse().unwrap()).collect());
    for all in [EVERYTHING, DEVICES, r"\VED\Policy\devices"] {
        assert_eq!(reading(&[all]).devices_seen(), DevicesSeen::All, "{all}");
    }
    let some = [
        r"\VED\Policy\Devices\bmc-1",
        r"\VED\Policy\DEVICES\BMC-1",
        r"\VED\Policy\Servers",
        r"\VED\Policy\Devices\x\certificate",
    ];
    assert_eq!(reading(&some).devices_seen(), named(&["bmc-1", "BMC-1"]));
    assert_eq!(Grants::default().devices_seen(), named(&[]));
    let mut writes = Grants::default();
    writes.add(r"\VED\Policy\Devices\bmc-1=write".parse().unwrap());
    assert_eq!(writes.devices_seen(), named(&[]));
    for id in ["bmc-1", "BMC-1", "bmc-2"] {
        let device: DeviceId = id.parse().unwrap();
        let DevicesSeen::Named(seen) = reading(&some).devices_seen() else { panic!("all") };
        assert_eq!(seen.contains(&device), reading(&some).allow(Right::Read, &dn::application_dn(&device)), "{id}");
    }
}

#[test]
fn of_nested_prefixes_the_highest_is_kept() {
    let seen = |prefixes: &[&str]| match reading(prefixes).certificates_seen() {
        CertificatesSeen::All => None,
        CertificatesSeen::Some { of_devices, below } => {
            Some((of_devices, below.iter().map(|prefix| prefix.path().to_owned()).collect::<Vec<_>>()))
        }
    };
    assert_eq!(seen(&[EVERYTHING, r"\VED\Policy\Servers"]), None);
    let nested = [r"\VED\Policy\Servers\Berlin", r"\VED\Policy\servers", r"\VED\Policy\Web", r"\VED\Policy\SERVERS"];
    let (of_devices, below) = seen(&nested).unwrap();
    assert_eq!((of_devices, below.len()), (false, 2), "{below:?}");
    let devices = [r"\VED\Policy\Devices", r"\VED\Policy\Devices\bmc-1", r"\VED\Policy\Web"];
    assert_eq!(seen(&devices), Some((true, vec!["Web".to_owned()])));
    assert_eq!(seen(&[]), Some((false, Vec::new())));
}
