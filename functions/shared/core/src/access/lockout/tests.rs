#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use proptest::prelude::*;

use super::*;

const PAIR: Counted<'_> = Counted::Pair { name: "ops", source: "192.0.2.7" };
const ALL: [Counted<'_>; 3] = [PAIR, Counted::Source("192.0.2.7"), Counted::Name("ops")];
const BEGIN: i64 = 1_000_000;

fn at(second: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(second).unwrap()
}

/// One wrong password after the other, as soon as it is permitted.
fn guessed(of: Counted<'_>, mut attempts: Attempts, mut now: i64, end: i64) -> (Attempts, i64) {
    let mut guesses = 0;
    while now < end {
        match attempts.verdict(of, at(now)) {
            Verdict::Free { .. } => (attempts, guesses) = (attempts.failed(of, 1, at(now)), guesses + 1),
            Verdict::Busy => now += 1,
            Verdict::Locked(pause) => now += pause.whole_seconds(),
        }
    }
    (attempts, guesses)
}

#[test]
fn each_delay_after_the_free_failures_doubles() {
    for of in ALL {
        let mut attempts = Attempts::default().failed(of, usize::try_from(of.free()).unwrap() - 1, at(BEGIN));
        assert_eq!(attempts.verdict(of, at(BEGIN)), Verdict::Free { places: 1 });
        let mut now = BEGIN;
        let mut pause = 1;
        while pause < of.memory().whole_seconds().min(60) {
            attempts = attempts.failed(of, 1, at(now));
            assert_eq!(attempts.pause(of), Some(Duration::seconds(pause)));
            assert_eq!(attempts.verdict(of, at(now)), Verdict::Locked(Duration::seconds(pause)));
            now += pause;
            assert_eq!(attempts.verdict(of, at(now - 1)), Verdict::Locked(Duration::SECOND));
            assert_eq!(attempts.verdict(of, at(now)), Verdict::Free { places: 1 }, "{of:?} {pause}");
            pause *= 2;
        }
        let much = Attempts { forgotten: i64::MAX, counted: now, ..attempts };
        assert_eq!(much.verdict(of, at(now)), Verdict::Locked(of.memory()));
    }
}

#[test]
fn a_guesser_has_few_guesses_however_long_it_goes_on() {
    for of in ALL {
        for days in [1, 10] {
            let (_, guesses) = guessed(of, Attempts::default(), BEGIN, BEGIN + days * 86_400);
            // The free ones, the doublings up to the longest delay, and one in each of these.
            let limit = of.free() + 13 + days * 86_400 / of.memory().whole_seconds();
            assert!(guesses <= limit, "{of:?}: {guesses} of {limit} in {days} days");
        }
    }
}

#[test]
fn nobody_is_punished_for_ever() {
    for of in ALL {
        let (attempts, _) = guessed(of, Attempts::default(), BEGIN, BEGIN + 86_400);
        assert!(matches!(attempts.verdict(of, at(attempts.counted)), Verdict::Locked(pause) if pause <= of.memory()));
        let free = |now: i64| matches!(attempts.verdict(of, at(now)), Verdict::Free { places } if places == of.free());
        assert!(free(attempts.expires()) && !free(attempts.expires() - 1), "{of:?}");
        assert!(attempts.expires() <= attempts.counted + 86_400, "{of:?}");
        // One client with a wrong password, over and over, leaves places for the others.
        let script = (1..=96).fold(Attempts::default(), |attempts, quarter| {
            attempts.failed(Counted::Source("x"), 1, at(BEGIN + quarter * 900))
        });
        let others = script.verdict(Counted::Source("x"), at(BEGIN + 96 * 900));
        assert_eq!(others, Verdict::Free { places: 29 });
    }
}

#[test]
fn a_right_password_clears_the_pairs_failures_once_an_hour() {
    let locked = Attempts::default().failed(PAIR, 12, at(BEGIN));
    let cleared = locked.succeeded(PAIR, at(BEGIN + 4));
    assert_eq!((cleared.pause(PAIR), cleared.is_known(at(BEGIN + 4))), (None, true));
    let again = cleared.failed(PAIR, 10, at(BEGIN + 5));
    assert_eq!(again.succeeded(PAIR, at(BEGIN + 6)), again);
    assert_eq!(again.succeeded(PAIR, at(BEGIN + 4 + 3600)).pause(PAIR), None);
    for of in [Counted::Source("x"), Counted::Name("x")] {
        assert_eq!(locked.succeeded(of, at(BEGIN + 4)), locked);
    }
}

#[test]
fn a_name_is_known_for_a_month_after_a_success() {
    assert!(!Attempts::default().is_known(at(0)));
    let known = Attempts::default().succeeded(PAIR, at(BEGIN));
    assert_eq!(known.succeeded(PAIR, at(BEGIN + 86_399)), known, "written once a day");
    assert_ne!(known.succeeded(PAIR, at(BEGIN + 86_400)), known);
    let month = 30 * 86_400;
    assert!(known.is_known(at(BEGIN + month - 1)) && !known.is_known(at(BEGIN + month)));
    assert_eq!(known.expires(), BEGIN + month);
}

/// What happens next in a race of many attempts.
#[derive(Debug, Clone, Copy)]
enum Next {
    Arrives,
    Right(usize),
    Wrong(usize),
    /// The function that verifies it dies.
    Dies(usize),
    Passes(i64),
}

fn race(right: bool) -> impl Strategy<Value = Vec<Next>> {
    let ended = any::<usize>();
    let end = if right {
        ended.prop_map(Next::Right).boxed()
    } else {
        prop_oneof![4 => ended.prop_map(Next::Wrong), 1 => ended.prop_map(Next::Dies)].boxed()
    };
    let next = prop_oneof![4 => Just(Next::Arrives), 3 => end, 1 => (0..40_i64).prop_map(Next::Passes)];
    prop::collection::vec(next, 1..400)
}

/// Plays a race as the ledger does. Returns how many passwords were verified, and at which times an attempt was locked.
fn played(of: Counted<'_>, race: &[Next]) -> (i64, Vec<i64>, i64) {
    let (mut attempts, mut now, mut verified, mut locked) = (Attempts::default(), BEGIN, 0, Vec::new());
    let mut running: Vec<String> = Vec::new();
    for (number, next) in race.iter().enumerate() {
        let lost: Vec<String> = attempts.lost(at(now)).into_iter().map(str::to_owned).collect();
        attempts = if lost.is_empty() { attempts } else { attempts.failed(of, lost.len(), at(now)) };
        attempts.in_flight.retain(|id, _| !lost.contains(id));
        running.retain(|id| attempts.in_flight.contains_key(id));
        let ended = |running: &mut Vec<String>, which: usize| {
            (!running.is_empty()).then(|| running.remove(which % running.len()))
        };
        match next {
            Next::Arrives => match attempts.verdict(of, at(now)) {
                Verdict::Free { places } => {
                    assert!((attempts.in_flight.len() as i64) < places);
                    attempts.in_flight.insert(number.to_string(), Attempts::kept_until(at(now)));
                    running.push(number.to_string());
                    verified += 1;
                }
                Verdict::Busy => assert!(!attempts.in_flight.is_empty(), "nobody to wait for"),
                Verdict::Locked(pause) => {
                    assert!(pause > Duration::ZERO && pause <= of.memory());
                    locked.push(now);
                }
            },
            Next::Right(which) => {
                if let Some(id) = ended(&mut running, *which) {
                    attempts = attempts.succeeded(of, at(now));
                    attempts.in_flight.remove(&id);
                }
            }
            Next::Wrong(which) => {
                if let Some(id) = ended(&mut running, *which) {
                    attempts = attempts.failed(of, 1, at(now));
                    attempts.in_flight.remove(&id);
                }
            }
            Next::Dies(which) => drop(ended(&mut running, *which)),
            Next::Passes(seconds) => now += seconds,
        }
        assert!(attempts.expires() >= attempts.in_flight.values().copied().max().unwrap_or_default());
    }
    (verified, locked, now - BEGIN)
}

proptest! {
    #[test]
    fn concurrent_wrong_passwords_never_exceed_the_limit(race in race(false)) {
        for of in ALL {
            let (verified, _, took) = played(of, &race);
            prop_assert!(verified <= of.free() + 13 + took / of.memory().whole_seconds(), "{} in {} s", verified, took);
        }
    }

    #[test]
    fn concurrent_right_passwords_are_never_locked(race in race(true)) {
        // Nothing is lost: its function would have died.
        let race: Vec<Next> = race.into_iter().filter(|next| !matches!(next, Next::Passes(_))).collect();
        for of in ALL {
            prop_assert_eq!(played(of, &race).1, Vec::<i64>::new());
        }
    }
}
