#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

#[path = "test_key.rs"]
mod test_key;

use time::macros::datetime;

use self::test_key::Key;

use super::super::{Act, Action, Actor, Unverified, export, verify, verify_export, verify_stated};
use super::*;
use crate::job::JobId;

const NOON: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);
const JOB: Subject = Subject::Job(JobId(7));
const OTHER: Subject = Subject::Job(JobId(8));

impl Key {
    /// A statement each hour from one o'clock on, each with these heads.
    fn statements(&self, hours: impl IntoIterator<Item = Vec<StatedHead>>) -> Vec<String> {
        let (mut last, mut made) = (Latest::NONE, Vec::new());
        for (heads, hour) in hours.into_iter().zip(1..) {
            let statement = Statement::after(&last, heads, NOON + Duration::hours(hour), true);
            let jws = self.sign(&statement.payload().unwrap());
            last = Latest::read(&jws).unwrap();
            made.push(jws);
        }
        made
    }
}

/// A chain with an entry each hour from noon on.
fn chain(subject: Subject, length: u64, by: &str) -> Vec<String> {
    let (mut lines, mut head, mut at) = (Vec::new(), Head::NONE, NOON);
    for _ in 0..length {
        let entry = Act::new(subject.clone(), Action::Waive, &Actor::function(by), at).after(&head);
        let line = entry.line().unwrap();
        head = entry.head(&line);
        lines.push(line);
        at += Duration::HOUR;
    }
    lines
}

fn read(lines: &[String]) -> (Vec<Entry>, Head) {
    verify(lines.iter().map(String::as_str)).unwrap()
}

fn stated(subject: Subject, lines: &[String]) -> StatedHead {
    let Head { hash, sequence } = read(lines).1;
    StatedHead { hash, sequence, subject }
}

fn later() -> OffsetDateTime {
    NOON + Duration::hours(12)
}

fn file(subject: Subject, lines: &[String]) -> String {
    export(subject, lines, read(lines).1).unwrap()
}

#[test]
fn a_chain_written_anew_verifies_alone_and_not_with_statements() {
    let key = Key::new();
    let lines = chain(JOB, 5, "ops");
    let heads =
        [vec![stated(JOB, &lines[..2])], vec![stated(OTHER, &chain(OTHER, 1, "ops"))], vec![stated(JOB, &lines[..4])]];
    let statements = verify_statements(&key.statements(heads), &[key.public().fingerprint()], None, later()).unwrap();
    let (verified, until) = verify_stated(&file(JOB, &lines), None, &statements).unwrap();
    assert_eq!((verified.entries.len(), until), (5, 4));

    // Somebody who may write the table replaces every entry and the head.
    let anew = file(JOB, &chain(JOB, 5, "mallory"));
    assert_eq!(verify_export(&anew, None).unwrap().entries.len(), 5);
    let rewritten = NotAsStated::Rewritten { subject: JOB, sequence: 2, statement: 1 };
    assert_eq!(verify_stated(&anew, None, &statements), Err(Unverified::NotAsStated(rewritten)));

    // Or the end only.
    let (entries, head) = read(&lines[..3]);
    let shortened = NotAsStated::Shortened { subject: JOB, sequence: 4, statement: 3, found: 3 };
    assert_eq!(statements.check(&JOB, &entries, head), Err(shortened));
    assert!(verify_export(&file(JOB, &lines[..3]), None).is_ok());
    let gone = NotAsStated::Shortened { subject: OTHER, sequence: 1, statement: 2, found: 0 };
    assert_eq!(statements.check(&OTHER, &[], Head::NONE), Err(gone));
}

#[test]
fn an_entry_that_was_added_afterwards_is_named() {
    let key = Key::new();
    let lines = chain(JOB, 3, "ops"); // at 12, 13 and 14 o'clock
    let check = |hours: &[Vec<StatedHead>], lines: &[String]| {
        let statements = verify_statements(&key.statements(hours.to_vec()), &[], None, later()).unwrap();
        let (entries, head) = read(lines);
        statements.check(&JOB, &entries, head)
    };
    let first = vec![stated(JOB, &lines[..1])];
    // The last statement is of 15 o'clock: the entry of 14 may come with the next one.
    assert_eq!(check(&[first.clone(), vec![stated(JOB, &lines[..2])], Vec::new()], &lines), Ok(2));
    let unstated = |sequence, at| Err(NotAsStated::Unstated { subject: JOB, sequence, at, why: Unstated::Added });
    assert_eq!(check(&[first, Vec::new(), Vec::new()], &lines), unstated(2, NOON + Duration::HOUR));
    // A chain that is in no statement at all may also be from before there were any.
    let never = NotAsStated::Unstated { subject: JOB, sequence: 1, at: NOON, why: Unstated::Never };
    assert_eq!(check(&[Vec::new(), Vec::new()], &lines), Err(never));
}

#[test]
fn a_file_without_its_last_line_verifies_with_statements() {
    let key = Key::new();
    let lines = chain(JOB, 2, "ops");
    let statements = verify_statements(&key.statements([vec![stated(JOB, &lines)]]), &[], None, later()).unwrap();
    let file = lines.join("\n");
    assert_eq!(verify_export(&file, None), Err(Unverified::NoHead));
    assert_eq!(verify_stated(&file, None, &statements).unwrap().1, 2);
    let other = Fingerprint::of(b"other");
    assert!(matches!(verify_stated(&file, Some(other), &statements), Err(Unverified::NotExpected { .. })));
    assert_eq!(verify_stated("", None, &statements), Err(Unverified::Empty));
}

#[test]
fn statements_that_do_not_follow_are_refused() {
    let (key, other) = (Key::new(), Key::new());
    let heads = |by: &str| (1..=4).map(|length| vec![stated(JOB, &chain(JOB, length, by))]).collect::<Vec<_>>();
    let made = key.statements(heads("ops"));
    let own = [key.public().fingerprint()];
    let verified = |texts: &[String]| verify_statements(texts, &own, None, later());
    let mut shuffled = made.clone();
    shuffled.rotate_left(2);
    shuffled.push(made[0].clone());
    let all = verified(&shuffled).unwrap();
    assert_eq!((all.latest.number, all.latest.until, all.subjects().len()), (4, NOON + Duration::hours(4), 1));
    assert!(
        all.has(2, Fingerprint::of(made[1].as_bytes()))
            && !all.has(2, all.latest.sha256)
            && !all.has(5, all.latest.sha256)
    );

    assert!(matches!(verified(&[]), Err(BadStatement::None)));
    assert!(matches!(verified(&[made[0].clone(), made[3].clone()]), Err(BadStatement::Missing { first: 2, last: 3 })));
    assert!(matches!(verified(&made[1..]), Err(BadStatement::Missing { first: 1, last: 1 })));
    // The same heads, signed once more: another signature, so another statement.
    let again = key.statements(heads("ops"));
    assert!(matches!(verified(&[made[0].clone(), again[0].clone()]), Err(BadStatement::Twice(1))));
    let mixed = [made[0].clone(), again[1].clone()];
    assert!(matches!(verified(&mixed), Err(BadStatement::NotLinked(2))));
    let foreign = other.statements(heads("ops"));
    assert!(matches!(verified(&foreign), Err(BadStatement::OtherKey { number: 1, .. })));
    assert!(
        verify_statements(&foreign, &[], None, later()).is_ok(),
        "without a key, it has to be compared by whoever asks"
    );
    let changed = [made[0].replacen('.', ".e", 1)];
    assert!(matches!(verified(&changed), Err(BadStatement::Unreadable { position: 1, .. })));
    assert!(matches!(
        verified(&[key.sign(b"{}")]),
        Err(BadStatement::Unreadable { why: Unreadable::NotAStatement, .. })
    ));

    let early = verify_statements(&made, &own, None, NOON + Duration::hours(3));
    assert!(matches!(early, Err(BadStatement::Future { number: 4, .. })));
    assert!(verify_statements(&made, &own, None, NOON + Duration::hours(4) - Duration::MINUTE).is_ok());
}

/// The key was replaced after the second statement, and the verifier remembers one of the new key.
#[test]
fn statements_before_an_anchor_may_be_of_any_key() {
    let (old, new, foreign) = (Key::new(), Key::new(), Key::new());
    let (mut last, mut made) = (Latest::NONE, Vec::new());
    for (key, hour) in [(&old, 1), (&old, 2), (&new, 3), (&new, 4)] {
        let statement = Statement::after(&last, Vec::new(), NOON + Duration::hours(hour), true);
        made.push(key.sign(&statement.payload().unwrap()));
        last = Latest::read(made.last().unwrap()).unwrap();
    }
    let at = |number: u64| (number, Fingerprint::of(made[number as usize - 1].as_bytes()));
    let verified = |key: &Key, anchored| verify_statements(&made, &[key.public().fingerprint()], anchored, later());
    assert!(matches!(verified(&new, None), Err(BadStatement::OtherKey { number: 1, .. })));
    for number in 2..=4 {
        assert_eq!(verified(&new, Some(at(number))).unwrap().latest.number, 4);
    }
    assert!(matches!(verified(&new, Some(at(1))), Err(BadStatement::OtherKey { number: 2, .. })));
    assert!(matches!(verified(&foreign, Some(at(3))), Err(BadStatement::OtherKey { number: 4, .. })));
    // It is not among them: nothing is known.
    for unknown in [(2, at(3).1), (9, at(4).1)] {
        assert!(matches!(verified(&new, Some(unknown)), Err(BadStatement::OtherKey { number: 1, .. })));
    }
}

#[test]
fn a_contradiction_condemns_its_own_chain_only() {
    let key = Key::new();
    let other = chain(OTHER, 2, "ops");
    let [before, after] = ["ops", "mallory"].map(|by| vec![stated(JOB, &chain(JOB, 3, by))]);
    let hours = [before, after, vec![stated(OTHER, &other)]];
    let statements = verify_statements(&key.statements(hours), &[], None, later()).unwrap();
    let found = NotAsStated::Contradiction { subject: JOB, sequence: 3, earlier: 1, later: 2 };
    assert_eq!(statements.contradictions().collect::<Vec<_>>(), [&found]);
    for by in ["ops", "mallory"] {
        let (entries, head) = read(&chain(JOB, 3, by));
        assert_eq!(statements.check(&JOB, &entries, head), Err(found.clone()));
    }
    assert_eq!(verify_stated(&file(OTHER, &other), None, &statements).unwrap().1, 2);
}

#[test]
fn an_unstated_entry_with_a_false_time_is_refused() {
    let key = Key::new();
    let good = chain(JOB, 2, "ops"); // at 12 and 13 o'clock
    let hours = [Vec::new(), vec![stated(JOB, &good)]];
    let now = NOON + Duration::hours(4);
    let statements = verify_statements(&key.statements(hours), &[], None, now).unwrap(); // until 14 o'clock
    let check = |times: &[OffsetDateTime]| {
        let (mut lines, mut head) = (good.clone(), read(&good).1);
        for at in times {
            let entry = Act::new(JOB, Action::Waive, &Actor::function("mallory"), *at).after(&head);
            let line = entry.line().unwrap();
            head = entry.head(&line);
            lines.push(line);
        }
        let (entries, head) = read(&lines);
        statements.check(&JOB, &entries, head)
    };
    let (soon, second) = (now + OVERLAP, Duration::SECOND);
    assert_eq!(check(&[soon]), Ok(2));
    for at in [soon + second, datetime!(2099-01-01 0:00 UTC)] {
        assert_eq!(check(&[at]), Err(NotAsStated::Unstated { subject: JOB, sequence: 3, at, why: Unstated::Future }));
    }
    assert_eq!(check(&[now, now - OVERLAP]), Ok(2));
    let at = now - OVERLAP - second;
    assert_eq!(
        check(&[now, at]),
        Err(NotAsStated::Unstated { subject: JOB, sequence: 4, at, why: Unstated::Backdated })
    );
}

#[test]
fn a_statement_of_an_earlier_time_is_refused() {
    let key = Key::new();
    let first = key.statements([Vec::new()]).remove(0);
    let last = Latest::read(&first).unwrap();
    for (at, until) in [(-1, -1), (0, -1), (1, 2)] {
        let moved = |minutes| last.at + Duration::minutes(minutes);
        let statement =
            Statement { at: moved(at), until: moved(until), ..Statement::after(&last, Vec::new(), NOON, true) };
        let made = [first.clone(), key.sign(&statement.payload().unwrap())];
        assert!(
            matches!(verify_statements(&made, &[], None, later()), Err(BadStatement::Backwards(2))),
            "{at} {until}"
        );
    }
    // A signer whose clock went back does not make one.
    let statement = Statement::after(&last, Vec::new(), NOON - Duration::DAY, true);
    assert_eq!((statement.at, statement.until), (last.at, last.until));
}

#[test]
fn heads_that_fill_a_statement_go_on_in_the_next() {
    let mut gathered = Gathered::default();
    let mut full = Vec::new();
    for number in 0..3000 {
        let subject = format!("device:bmc-{number:04}").parse().unwrap();
        full.extend(gathered.add(StatedHead { hash: Fingerprint::of(b"x"), sequence: number, subject }));
    }
    let rest = gathered.rest();
    assert!(full.len() == 2 && full[0].len() > 1000, "{} statements", full.len());
    let heads: Vec<_> = full.iter().flatten().chain(&rest).map(|head| head.sequence).collect();
    assert_eq!(heads, (0..3000).collect::<Vec<_>>());
    // With the longest names, whose bytes JSON escapes, too.
    let mut longest = Gathered::default();
    let name = "\"".repeat(1024);
    let head = StatedHead {
        hash: Fingerprint::of(b"x"),
        sequence: u64::MAX,
        subject: format!("denials:{name}").parse().unwrap(),
    };
    let heads = std::iter::repeat(head).find_map(|head| longest.add(head)).unwrap();
    let key = Key::new();
    let jws = key.sign(&Statement::after(&Latest::NONE, heads, NOON, false).payload().unwrap());
    assert!(jws.len() < 398 << 10, "{} bytes", jws.len());
}

#[test]
fn only_the_last_part_advances_what_is_covered() {
    let last = Latest { number: 3, sha256: Fingerprint::of(b"3"), at: NOON, until: NOON };
    let part = Statement::after(&last, Vec::new(), NOON + Duration::HOUR, false);
    assert_eq!((part.number, part.until), (4, NOON));
    let end = Statement::after(&last, Vec::new(), NOON + Duration::HOUR, true);
    assert_eq!(end.until, NOON + Duration::HOUR);
    assert_eq!(last.since(), NOON - OVERLAP);
    assert_eq!(Latest::NONE.since(), OffsetDateTime::UNIX_EPOCH);
}
