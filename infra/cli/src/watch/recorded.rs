//! Answers of `GET /jobs/7`, for tests.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use rootcast_dialects::native::Job;

macro_rules! answer {
    ($phase:literal, $state:literal, $outcome:literal, $reason:literal, $devices:literal, $waves:literal) => {
        concat!(
            r#"{"kind":"rollover","id":7,"jobPath":"/signingCertificate/jobs/7","phase":""#, $phase, r#"","state":""#, $state, r#"","outcome":"#, $outcome,
            r#","reason":""#, $reason, r#"","generation":2,"oldGeneration":1,"bundleVersion":2,"activation":"proven","leg":"distribute","#,
            r#""rollout":{"canary":5,"growth":10,"largestWave":10000,"wavePause":0,"errorBudget":5,"errorBudgetMinimum":20},"#,
            r#""devices":"#, $devices, r#","waves":"#, $waves,
            r#","created":"2026-07-22T10:11:00Z","updated":"2026-07-22T10:11:12Z"}"#
        )
    };
}

pub(crate) const PUBLISHED: &str = answer!(
    "publish",
    "running",
    "null",
    "The bundle is published; its trust anchors are brought to the devices.",
    r#"{"total":null,"dispatched":0,"acked":0,"failed":0,"skipped":0,"waived":0,"waiting":0}"#,
    "[]"
);

pub(crate) const RUNNING: &str = answer!(
    "distribute",
    "running",
    "null",
    "Wave 1: 3 of 5 devices have no result yet.",
    r#"{"total":null,"dispatched":5,"acked":2,"failed":0,"skipped":0,"waived":0,"waiting":3}"#,
    r#"[{"leg":"distribute","number":1,"size":5,"acked":2,"failed":0,"opened":"2026-07-22T10:11:01Z"}]"#
);

pub(crate) const ONE_MORE: &str = answer!(
    "distribute",
    "running",
    "null",
    "Wave 1: 3 of 5 devices have no result yet.",
    r#"{"total":25,"dispatched":5,"acked":3,"failed":0,"skipped":0,"waived":0,"waiting":2}"#,
    r#"[{"leg":"distribute","number":1,"size":5,"acked":3,"failed":0,"opened":"2026-07-22T10:11:01Z"}]"#
);

pub(crate) const PAUSED: &str = answer!(
    "distribute",
    "paused",
    "null",
    "Paused: 2 of 5 devices failed, more than the error budget of 5 %. See the failed tasks.",
    r#"{"total":25,"dispatched":5,"acked":3,"failed":2,"skipped":0,"waived":0,"waiting":0}"#,
    r#"[{"leg":"distribute","number":1,"size":5,"acked":3,"failed":2,"opened":"2026-07-22T10:11:01Z","closed":"2026-07-22T10:11:05Z"}]"#
);

pub(crate) const ACTIVATED: &str = answer!(
    "ended",
    "ended",
    r#""activated""#,
    "The new root is active; every device holds it or is waived.",
    r#"{"total":5,"dispatched":5,"acked":5,"failed":0,"skipped":0,"waived":0,"waiting":0}"#,
    r#"[{"leg":"distribute","number":1,"size":5,"acked":5,"failed":0,"opened":"2026-07-22T10:11:01Z","closed":"2026-07-22T10:11:05Z"}]"#
);

pub(crate) const DEPLOYING: &str = r#"{"kind":"deployment","id":7,"jobPath":"/jobs/7","state":"running",
    "reason":"1 of 2 devices have no result yet.","certificate":"scs1600313391074","leg":"install","requestedBy":"ops",
    "devices":{"total":2,"dispatched":2,"acked":1,"failed":0,"skipped":0,"waived":0,"waiting":1},
    "created":"2026-07-22T10:11:00Z","updated":"2026-07-22T10:11:12Z"}"#;

pub(crate) const DEPLOYED_BUT_ONE: &str = r#"{"kind":"deployment","id":7,"jobPath":"/jobs/7","state":"ended",
    "outcome":"deployedWithFailures","reason":"1 of 2 devices show the certificate, 1 failed.",
    "certificate":"scs1600313391074","leg":"install","requestedBy":"ops",
    "devices":{"total":2,"dispatched":2,"acked":1,"failed":1,"skipped":0,"waived":0,"waiting":0},
    "created":"2026-07-22T10:11:00Z","updated":"2026-07-22T10:11:12Z"}"#;

pub(crate) fn job(answer: &str) -> Job {
    serde_json::from_str(answer).unwrap()
}
