use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

fn failure(stage: Option<Stage>) -> Failure {
    Failure { stage, ..Failure::new(ErrorClass::Connect, "No route.") }
}

fn results(lifecycle: &Lifecycle) -> Vec<(u16, u32, StageResult)> {
    lifecycle.history.iter().map(|entry| (entry.stage.number(), entry.attempt, entry.result)).collect()
}

#[test]
fn stages_are_parsed_from_their_numbers_only() {
    for stage in Stage::ALL {
        let json = serde_json::to_value(stage).unwrap();
        assert_eq!(json, stage.number());
        assert_eq!(serde_json::from_value::<Stage>(json).unwrap(), stage);
    }
    assert_eq!(Stage::try_from(1300), Err(NotAStage(1300)));
}

#[test]
fn the_worst_lifecycle_represents_all() {
    let life = |number: Option<u16>, in_error| Lifecycle {
        stage: number.map(|number| number.try_into().unwrap()),
        in_error,
        ..Lifecycle::idle(Work::Install, "")
    };
    let lives = [
        life(Some(900), true),
        life(Some(1200), true),
        life(Some(800), false),
        life(Some(1100), false),
        life(None, false),
    ];
    for first in 0..lives.len() {
        assert_eq!(worst(lives[first..].iter().rev()), Some(&lives[first]));
    }
    assert_eq!(worst([]), None);
}

#[test]
fn a_refused_certificate_leads_back_to_the_request_once_an_attempt() {
    let refused = |class| Failure { stage: Some(Stage::InstallCertificate), ..Failure::new(class, "Another key.") };
    let at_800 = |life: &Lifecycle| life.advance(life.attempt, Stage::InstallCertificate, "Signed.", NOW).unwrap();
    let signed = at_800(&Lifecycle::idle(Work::Issue, "").begin(Work::Issue, "Begun.", NOW));
    for class in [ErrorClass::Connect, ErrorClass::Unauthorized, ErrorClass::NotStored] {
        assert_eq!(signed.lead_back(1, &refused(class), NOW), None, "{class}");
    }
    let back = signed.lead_back(1, &refused(ErrorClass::Rejected), NOW).unwrap();
    assert_eq!((back.stage, back.in_error, back.attempt), (Some(Stage::CreateCsr), false, 1));
    assert!(back.status.contains("makes a new one, this once. Another key."), "{}", back.status);
    assert_eq!(results(&back).last(), Some(&(800, 1, StageResult::Failed(ErrorClass::Rejected))));
    let again = at_800(&back);
    assert_eq!(again.lead_back(1, &refused(ErrorClass::Rejected), NOW), None, "it refuses everything");
    let retried = again.fail(1, &refused(ErrorClass::Rejected), NOW).unwrap().retry(NOW).unwrap();
    assert!(retried.lead_back(2, &refused(ErrorClass::ServerError), NOW).is_some());
    assert_eq!(retried.lead_back(1, &refused(ErrorClass::Rejected), NOW), None, "of an earlier attempt");
    let imported = Lifecycle::idle(Work::Install, "").begin(Work::Install, "Begun.", NOW);
    assert_eq!(imported.lead_back(1, &refused(ErrorClass::Rejected), NOW), None, "the device made no key");
}

#[test]
fn a_retry_resumes_at_the_failed_stage_and_keeps_history() {
    use StageResult::{Done, Failed, Queued};
    let begun = Lifecycle::idle(Work::Issue, "").begin(Work::Issue, "Begun.", NOW);
    assert_eq!((begun.stage, begun.attempt), (Some(Stage::CreateCsr), 1));
    let posted = begun.advance(1, Stage::PostCsr, "Posted.", NOW).unwrap();
    let failed = posted.fail(1, &failure(Some(Stage::RetrieveCertificate)), NOW).unwrap();
    assert_eq!((failed.stage, failed.in_error), (Some(Stage::RetrieveCertificate), true));
    assert_eq!(failed.status, "No route.");
    let again = failed.retry(NOW).unwrap();
    assert_eq!((again.stage, again.in_error, again.attempt), (Some(Stage::RetrieveCertificate), false, 2));
    let done = again.finish(2, "Done.", NOW).unwrap();
    assert_eq!((done.stage, done.in_error, done.status.as_str()), (None, false, "Done."));
    let expected = [
        (400, 1, Queued),
        (400, 1, Done),
        (500, 1, Done),
        (600, 1, Done),
        (700, 1, Failed(ErrorClass::Connect)),
        (700, 2, Queued),
        (700, 2, Done),
        (800, 2, Done),
        (1100, 2, Done),
        (900, 2, Done),
        (1200, 2, Done),
    ];
    assert_eq!(results(&done), expected);
    assert_eq!(failed.history.last().unwrap().words, "No route.");
}

#[test]
fn an_unusable_request_is_made_again() {
    let begun = Lifecycle::idle(Work::Issue, "").begin(Work::Issue, "", NOW);
    let posted = begun.advance(1, Stage::PostCsr, "", NOW).unwrap();
    let failed = posted.fail(1, &failure(Some(Stage::CreateCsr)), NOW).unwrap();
    assert_eq!(failed.stage, Some(Stage::CreateCsr));
    assert_eq!(results(&failed).last(), Some(&(400, 1, StageResult::Failed(ErrorClass::Connect))));
}

#[test]
fn a_failure_without_a_stage_is_of_the_current_one() {
    let begun = Lifecycle::idle(Work::Install, "").begin(Work::Install, "", NOW);
    for stage in [None, Some(Stage::UpdateTrustStore)] {
        assert_eq!(begun.fail(1, &failure(stage), NOW).unwrap().stage, Some(Stage::InstallCertificate));
    }
}

#[test]
fn transitions_out_of_order_are_refused() {
    let idle = Lifecycle::idle(Work::Install, "");
    let begun = idle.begin(Work::Install, "", NOW);
    let failed = begun.fail(1, &failure(None), NOW).unwrap();
    let done = begun.finish(1, "", NOW).unwrap();
    for still in [&idle, &failed, &done] {
        assert_eq!(still.finish(still.attempt, "", NOW), Err(OutOfOrder::NotUnderWay));
        assert_eq!(still.fail(still.attempt, &failure(None), NOW), Err(OutOfOrder::NotUnderWay));
        assert_eq!(still.advance(still.attempt, Stage::EndProcessing, "", NOW), Err(OutOfOrder::NotUnderWay));
    }
    for right in [&idle, &begun, &done] {
        assert_eq!(right.retry(NOW), Err(OutOfOrder::NotInError));
    }
    assert_eq!(begun.finish(2, "", NOW), Err(OutOfOrder::OtherAttempt));
    assert_eq!(begun.advance(1, Stage::InstallCertificate, "", NOW), Err(OutOfOrder::Stage));
    assert_eq!(begun.advance(1, Stage::CreateCsr, "", NOW), Err(OutOfOrder::Stage));
    assert_eq!(idle.reset("", NOW), Err(OutOfOrder::Idle));
    assert_eq!(done.reset("", NOW), Err(OutOfOrder::Idle));
}

#[test]
fn a_reset_fences_off_attempts_under_way() {
    let begun = Lifecycle::idle(Work::Install, "").begin(Work::Install, "", NOW);
    let reset = begun.reset("Reset by ops.", NOW).unwrap();
    assert_eq!((reset.stage, reset.in_error, reset.status.as_str()), (None, false, "Reset by ops."));
    assert_eq!(reset.finish(1, "", NOW), Err(OutOfOrder::OtherAttempt));
}

#[test]
fn the_oldest_entries_are_dropped_first() {
    let mut lifecycle = Lifecycle::idle(Work::Install, "").begin(Work::Install, "", NOW);
    for attempt in 1..=100 {
        lifecycle = lifecycle.fail(attempt, &failure(None), NOW).unwrap().retry(NOW).unwrap();
    }
    assert_eq!(lifecycle.history.len(), MOST_ENTRIES);
    assert_eq!(lifecycle.history.last().unwrap().attempt, 101);
}

/// What may happen to the work: messages to workers may be late or doubled, and operators intervene.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// Delivers the message that was sent this many messages ago, with this outcome.
    Delivered {
        ago: usize,
        outcome: Delivery,
    },
    Retry,
    Reset,
    Begin,
}

#[derive(Debug, Clone, Copy)]
enum Delivery {
    Advanced,
    Finished,
    Failed,
}

/// The model: numbers only, and no fencing. It knows which message is the current one.
#[derive(Debug, Default)]
struct Model {
    /// Index of the stage, while there is something to do.
    stage: Option<usize>,
    failed: bool,
    live: usize,
    sent: usize,
    finished: u32,
    failures: u32,
}

impl Model {
    fn send(&mut self) {
        self.sent += 1;
        self.live = self.sent;
    }
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let outcome = prop_oneof![
        3 => Just(Delivery::Failed),
        3 => Just(Delivery::Advanced),
        1 => Just(Delivery::Finished),
    ];
    let happening = prop_oneof![
        6 => (0usize..4, outcome).prop_map(|(ago, outcome)| Happening::Delivered { ago, outcome }),
        3 => Just(Happening::Retry),
        1 => Just(Happening::Reset),
        1 => Just(Happening::Begin),
    ];
    prop::collection::vec(happening, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn any_sequence_of_failures_ends_where_the_model_ends(happenings in happenings()) {
        let stages = Work::Issue.stages();
        let mut lifecycle = Lifecycle::idle(Work::Issue, "");
        let mut model = Model::default();
        // A message carries its attempt and the beginning that it belongs to: each job has its own id.
        let mut messages: Vec<(u32, u32)> = vec![(0, 0)];
        let (mut job, mut finished, mut failures) = (0, 0, 0);
        for happening in happenings {
            match happening {
                Happening::Begin => {
                    // A job starts only if no other one is under way.
                    if lifecycle.is_under_way() { continue }
                    lifecycle = lifecycle.begin(Work::Issue, "", NOW);
                    job += 1;
                    messages.push((job, lifecycle.attempt));
                    model.stage = Some(0);
                    model.failed = false;
                    model.send();
                }
                Happening::Retry => {
                    let retried = lifecycle.retry(NOW);
                    prop_assert_eq!(retried.is_ok(), model.failed);
                    if let Ok(next) = retried {
                        lifecycle = next;
                        messages.push((job, lifecycle.attempt));
                        model.failed = false;
                        model.send();
                    }
                }
                Happening::Reset => {
                    let reset = lifecycle.reset("", NOW);
                    prop_assert_eq!(reset.is_ok(), model.stage.is_some());
                    if let Ok(next) = reset {
                        lifecycle = next;
                        model.stage = None;
                        model.failed = false;
                        model.live = 0;
                    }
                }
                Happening::Delivered { ago, outcome } => {
                    let Some(index) = messages.len().checked_sub(ago + 1) else { continue };
                    let (of_job, attempt) = messages[index];
                    if of_job != job { continue }
                    let alive = index == model.live && model.live > 0 && !model.failed;
                    let at = lifecycle.stage.and_then(|stage| stages.iter().position(|each| *each == stage));
                    let next = match outcome {
                        Delivery::Finished => lifecycle.finish(attempt, "", NOW),
                        Delivery::Failed => lifecycle.fail(attempt, &failure(None), NOW),
                        Delivery::Advanced => match at.and_then(|at| stages.get(at + 1)) {
                            Some(stage) => lifecycle.advance(attempt, *stage, "", NOW),
                            None => lifecycle.finish(attempt, "", NOW),
                        },
                    };
                    prop_assert_eq!(next.is_ok(), alive && model.stage.is_some(), "{:?}", next);
                    let Ok(next) = next else { continue };
                    finished += u32::from(next.stage.is_none());
                    failures += u32::from(next.in_error);
                    lifecycle = next;
                    match (outcome, model.stage) {
                        (Delivery::Failed, _) => {
                            model.failed = true;
                            model.failures += 1;
                        }
                        (Delivery::Advanced, Some(stage)) if stage + 1 < stages.len() => model.stage = Some(stage + 1),
                        _ => {
                            model.stage = None;
                            model.finished += 1;
                        }
                    }
                }
            }
            let place = lifecycle.stage.and_then(|stage| stages.iter().position(|each| *each == stage));
            prop_assert_eq!((place, lifecycle.in_error), (model.stage, model.failed));
            prop_assert!(!lifecycle.in_error || lifecycle.stage.is_some());
            prop_assert!(lifecycle.history.len() <= MOST_ENTRIES);
        }
        prop_assert_eq!((finished, failures), (model.finished, model.failures));
    }
}

#[test]
fn a_history_is_stored_as_lines_and_maps_are_read() {
    let entry = |result, words: &str| Entry {
        stage: Stage::PostCsr,
        attempt: 3,
        result,
        words: words.to_owned(),
        at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(7),
    };
    let history = vec![
        Entry { stage: Stage::CreateCsr, ..entry(StageResult::Done, "") },
        entry(StageResult::Done, ""),
        entry(StageResult::Queued, "By ops,  again. "),
        entry(StageResult::Reset, ""),
        entry(
            StageResult::Failed(ErrorClass::TlsHandshake),
            "No
route.",
        ),
        entry(StageResult::Failed(ErrorClass::Reset), ""),
    ];
    let mut stored =
        serde_json::to_value(Lifecycle { history: history.clone(), ..Lifecycle::idle(Work::Issue, "") }).unwrap();
    assert_eq!((&stored["history"][0], &stored["history"][4]), (&"400,500 3 done 7".into(), &"500 3 !reset 7".into()));
    assert_eq!(serde_json::from_value::<Lifecycle>(stored.clone()).unwrap().history, history);
    stored["history"] = serde_json::to_value(&history).unwrap();
    assert_eq!(serde_json::from_value::<Lifecycle>(stored.clone()).unwrap().history, history, "of an earlier release");
    stored["history"] = ["500 3 done"].into();
    assert!(serde_json::from_value::<Lifecycle>(stored).is_err());
}
