#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use proptest::prelude::*;
use proptest::sample::Index;
use time::macros::datetime;

use super::*;

fn act(subject: Subject, number: u64) -> Act {
    let actor = Actor { principal: "ops".to_owned(), request_id: Some(format!("request-{number}")) };
    let at = datetime!(2026-01-02 03:04:05.6 +1);
    Act::new(subject, Action::Retry, &actor, at).with("devices", number).with("reason", "a \"b\"\n\u{1b}ü")
}

const JOB: Subject = Subject::Job(JobId(7));

/// A chain of `length` entries.
fn chain(subject: Subject, length: u64) -> (Vec<String>, Head) {
    let (mut lines, mut head) = (Vec::new(), Head::NONE);
    for number in 0..length {
        let entry = act(subject.clone(), number).after(&head);
        let line = entry.line().unwrap();
        head = entry.head(&line);
        lines.push(line);
    }
    (lines, head)
}

fn head_of(lines: &[String]) -> Result<Head, Broken> {
    verify(lines.iter().map(String::as_str)).map(|(_, head)| head)
}

#[test]
fn an_entry_is_canonical_json_in_one_line() {
    let (lines, head) = chain(JOB, 1);
    let zeros = "0".repeat(64);
    assert_eq!(
        lines,
        [format!(
            r#"{{"action":"retry","at":"2026-01-02T02:04:05Z","details":{{"devices":"0","reason":"a \"b\"\n\u001bü"}},"outcome":"done","previous":"{zeros}","principal":"ops","requestId":"request-0","sequence":1,"subject":"7"}}"#
        )]
    );
    assert_eq!(head, Head { hash: Fingerprint::of(lines[0].as_bytes()), sequence: 1 });
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&lines[0]).unwrap();
    assert!(members.keys().is_sorted());
}

#[test]
fn each_subject_has_one_spelling() {
    let role = "iam#arn:aws:iam::123456789012:role/deployer";
    let named =
        ["device:a.b-C_7", "device:7", "principal:ops@x", "policy:issuance", "policy:certificate"].map(String::from);
    let of_role = [format!("principal:{role}"), format!("denials:{role}"), "request:7".to_owned()];
    for text in ["7", "scs1600313391074", "root-7"].map(String::from).iter().chain(&named).chain(&of_role) {
        assert_eq!(text.parse::<Subject>().unwrap().to_string(), *text);
    }
    for text in ["", "07", "+7", "scs1", "-1", "jobs", "root-", "root-07", "root-+7", "root-99999999999"] {
        assert_eq!(text.parse::<Subject>(), Err(NotASubject), "{text}");
    }
    for text in [":", "device:", "device:a b", "device:a/b", "Device:a", "job:7", "policy:", "policy:Issuance"] {
        assert_eq!(text.parse::<Subject>(), Err(NotASubject), "{text}");
    }
    for name in ["", " ops", "o ps", "öps", "ops\n", &"x".repeat(1025)] {
        for kind in ["principal", "denials", "request"] {
            assert_eq!(format!("{kind}:{name}").parse::<Subject>(), Err(NotASubject), "{name}");
        }
    }
}

#[test]
fn any_callers_text_has_a_chain_of_its_own() {
    assert_eq!(Name::of("ops").as_str(), "ops");
    let (one, other) = (Name::of("o ps"), Name::of(" ops"));
    assert_ne!(one, other);
    assert_eq!(one.as_str().parse(), Ok(one.clone()));
}

#[test]
fn texts_and_details_of_an_act_are_bounded() {
    let mut long = act(JOB, 1);
    long.actor.principal = "ü".repeat(10_000);
    let long = (0..100).fold(long, |act, number| act.with(&number.to_string(), "\u{1}".repeat(10_000)));
    let line = long.after(&Head::NONE).line().unwrap();
    // Each control character takes six bytes in JSON.
    assert!(line.len() < 12 * (256 * 6 + 16) + 2 * 256 * 2 + 512, "{}", line.len());
    assert!(verify([line.as_str()]).is_ok());
}

#[test]
fn every_object_is_named_in_bounded_entries() {
    let names: Vec<String> = (0..1000).map(|number| format!("{number:0>64}")).collect();
    let acts = act(JOB, 1).naming("names", names.clone());
    assert_eq!((acts.len(), acts[9].details["part"].as_str()), (10, "10 of 10"));
    let told: Vec<&str> = acts.iter().flat_map(|act| act.details["names"].split(' ')).collect();
    assert_eq!(told, names);
    assert!(acts.iter().all(|act| act.after(&Head::NONE).line().unwrap().len() < 8 * 1024));
    assert!(acts.iter().all(|act| act.details["devices"] == "1"));
    let few = act(JOB, 1).naming("names", ["a".to_owned(), "b".to_owned()]);
    assert_eq!((few.len(), few[0].details["names"].as_str(), few[0].details.get("part")), (1, "a b", None));
    assert_eq!(act(JOB, 1).naming("names", []), [act(JOB, 1)]);
    let long = act(JOB, 1).naming("names", (0..60).map(|_| "ü".repeat(300)));
    assert!(long.len() > 1 && long.iter().all(|act| act.details["names"].len() <= LONGEST_LIST));
}

#[test]
fn a_long_names_end_is_told() {
    let named = |end: &str| {
        let name = format!("{}=https://{}.{end}", "d".repeat(64), "a.".repeat(120));
        act(JOB, 1).naming("names", [name])[0].details["names"].clone()
    };
    assert!(named("attacker.example").ends_with(".attacker.example"));
    let far = |end: &str| act(JOB, 1).naming("names", [format!("{}{end}", "x".repeat(5000))]);
    assert_ne!(far("one"), far("other"), "the whole name is bound by its hash");
}

#[test]
fn a_long_text_is_recorded_whole() {
    let text = "ü\"rule\" ".repeat(6000);
    let acts = act(JOB, 1).saying("policy", &text);
    assert!(acts.iter().all(|act| act.details["policy"].len() <= LONGEST_LIST));
    assert_eq!(acts.iter().map(|act| act.details["policy"].as_str()).collect::<String>(), text);
    assert_eq!(acts[1].details["part"], format!("2 of {}", acts.len()));
    assert_eq!(act(JOB, 1).saying("policy", "{}"), [act(JOB, 1).changing("policy", None, Some("{}"))]);
}

#[test]
fn a_change_says_what_was_and_what_is() {
    let changed = |before, after| {
        Act::new(JOB, Action::Edit, &Actor::function("x"), OffsetDateTime::UNIX_EPOCH)
            .changing("address", before, after)
            .details
            .remove("address")
    };
    assert_eq!(changed(Some("a"), Some("b")).as_deref(), Some("a -> b"));
    assert_eq!(
        (changed(None, Some("b")).as_deref(), changed(Some("a"), None).as_deref()),
        (Some("b"), Some("a -> none"))
    );
    assert_eq!(changed(Some("a"), Some("a")), None);
    let (one, other) = ("x".repeat(5000), "x".repeat(5001));
    assert_ne!(changed(None, Some(&one)), changed(None, Some(&other)), "the whole value is bound by its hash");
    assert!(changed(None, Some(&one)).unwrap().len() < 1024);
}

#[test]
fn a_file_cut_short_or_with_another_head_is_refused() {
    let (lines, head) = chain(JOB, 3);
    let file = export(JOB, &lines, head).unwrap();
    let verified = verify_export(&file, Some(head.hash)).unwrap();
    assert_eq!((verified.subject.clone(), verified.entries.len(), verified.head), (JOB, 3, head));
    assert_eq!(verify_export(&lines.join("\n"), None), Err(Unverified::NoHead));
    assert_eq!(verify_export("", None), Err(Unverified::NoHead));
    let shorter = export(JOB, &lines[..2], head).unwrap();
    assert_eq!(verify_export(&shorter, None), Err(Unverified::OtherEnd { expected: 3, found: 2 }));
    let (_, other) = chain(Subject::Job(JobId(8)), 3);
    assert_eq!(verify_export(&export(JOB, &lines, other).unwrap(), None), Err(Unverified::OtherHead(3)));
    let foreign = export(Subject::Job(JobId(8)), &lines, head).unwrap();
    assert!(matches!(verify_export(&foreign, None), Err(Unverified::OtherSubject { .. })));
    let expected = Some(Head::NONE.hash);
    assert!(matches!(verify_export(&file, expected), Err(Unverified::NotExpected { .. })));
    let empty = export(JOB, &[], Head::NONE).unwrap();
    assert_eq!(verify_export(&empty, None).unwrap().entries, []);
}

#[test]
fn the_faulty_entry_is_named() {
    let (lines, _) = chain(JOB, 4);
    let broken = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        head_of(&lines).unwrap_err()
    };
    let changed = broken(&|lines| lines[1] = lines[1].replace("\"ops\"", "\"oops\""));
    assert_eq!(changed, Broken { line: 3, fault: Fault::NotLinked });
    let removed = broken(&|lines| drop(lines.remove(1)));
    assert_eq!(removed, Broken { line: 2, fault: Fault::OutOfSequence { expected: 2, found: 3 } });
    let reformatted = broken(&|lines| lines[2].insert(1, ' '));
    assert_eq!(reformatted, Broken { line: 3, fault: Fault::NotCanonical });
    let foreign = broken(&|lines| lines[3] = lines[3].replace("\"7\"", "\"8\""));
    assert!(matches!(foreign, Broken { line: 4, fault: Fault::OtherSubject { .. } }));
    assert_eq!(broken(&|lines| lines[0].clear()), Broken { line: 1, fault: Fault::NotAnEntry });
}

proptest! {
    #[test]
    fn any_changed_byte_is_detected(length in 1_u64..6, line: Index, at: Index, other: char) {
        let (mut lines, head) = chain(JOB, length);
        let line = line.index(lines.len());
        let mut chars: Vec<char> = lines[line].chars().collect();
        let at = at.index(chars.len());
        prop_assume!(chars[at] != other);
        chars[at] = other;
        lines[line] = chars.into_iter().collect();
        prop_assert_ne!(head_of(&lines), Ok(head));
    }

    #[test]
    fn any_removed_doubled_or_swapped_entry_is_detected(length in 2_u64..8, one: Index, other: Index) {
        let (lines, head) = chain(JOB, length);
        let (one, other) = (one.index(lines.len()), other.index(lines.len()));
        let mut removed = lines.clone();
        removed.remove(one);
        prop_assert_ne!(head_of(&removed), Ok(head));
        let mut doubled = lines.clone();
        doubled.insert(other, lines[one].clone());
        prop_assert_ne!(head_of(&doubled), Ok(head));
        prop_assume!(one != other);
        let mut swapped = lines;
        swapped.swap(one, other);
        prop_assert_ne!(head_of(&swapped), Ok(head));
    }

    #[test]
    fn a_forged_entry_is_detected_by_the_head(length in 1_u64..6, at: Index, text in ".{0,40}") {
        // An attacker who can compute hashes recomputes the rest of the chain.
        let (mut lines, head) = chain(JOB, length);
        let at = at.index(lines.len() + 1);
        let rest = lines.split_off(at);
        let mut made = head_of(&lines).unwrap();
        let forged = std::iter::once(act(JOB, 99).with("forged", text)).chain((0..rest.len() as u64).map(|n| act(JOB, n)));
        for act in forged {
            let entry = act.after(&made);
            let line = entry.line().unwrap();
            made = entry.head(&line);
            lines.push(line);
        }
        prop_assert_eq!(head_of(&lines), Ok(made));
        prop_assert_ne!(made, head);
    }

    #[test]
    fn a_name_is_never_read_as_another_subject(name in "[!-~]{1,80}") {
        for subject in [Subject::Principal(Name::of(&name)), Subject::Denials(Name::of(&name)), Subject::Request(Name::of(&name))] {
            prop_assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
        }
        if let Ok(subject) = name.parse::<Subject>() {
            prop_assert_eq!(subject.to_string(), name);
        }
    }

    #[test]
    fn any_text_is_verified_or_refused(text: String) {
        let _ = verify_export(&text, None);
    }
}
