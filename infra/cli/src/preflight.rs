//! What a preflight found, described as text.

use rootcast_core::preflight::report::Named;
use rootcast_dialects::native::{Changed, Estimate, Findings, Part, Preflight, Report, Task};

use crate::output::plain;

/// The report of a preflight's job.
pub(crate) fn describe(report: &Report) -> String {
    let mut lines = vec![format!("{} of {} devices are ready for a rollover.", report.ready, report.devices)];
    for Findings { finding, devices, names, recovery } in &report.findings {
        lines.push(format!("  {finding}: {}", listed(*devices, names)));
        lines.push(format!("    {}", plain(recovery)));
    }
    lines.push(format!("{:9}{} of our own, which the rollover replaces", "Renews", report.reissued));
    if report.stranded.count > 0 {
        let listed = listed(report.stranded.count, &report.stranded.names);
        lines.push(format!("{:9}imported certificates under a root of today: {listed}", "Strands"));
        lines.push("    Their owners replace them, or they hold up the end of the old root.".to_owned());
    }
    match &report.estimate {
        Some(estimate) => lines.extend(estimated(estimate)),
        None => lines.push(format!("{:9}unknown: no device could be read", "Takes")),
    }
    lines.join("\n")
}

/// Devices that are not ready, each with what was said of it. `all`: how many there are.
pub(crate) fn devices(tasks: &[Task], all: u64) -> String {
    let said = |task: &Task| -> Vec<String> {
        let failed = task.class.map(|class| (class.to_string(), task.message.clone().unwrap_or_default()));
        let found = task.findings.iter().flatten().map(|found| (found.finding.to_string(), found.message.clone()));
        let line = |(what, message): (String, String)| format!("  {}  {what}: {}", task.device, plain(&message));
        failed.into_iter().chain(found).map(line).collect()
    };
    let mut lines: Vec<String> = tasks.iter().flat_map(said).collect();
    let more = all.saturating_sub(tasks.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines.join("\n")
}

fn estimated(estimate: &Estimate) -> [String; 3] {
    let part = |part: &Part| match part.waves {
        0 => format!("{} {}", part.phase, long(part.seconds)),
        waves => format!("{} {} ({} devices, waves: {waves})", part.phase, long(part.seconds), part.devices),
    };
    let parts: Vec<String> = estimate.parts.iter().map(part).collect();
    [
        format!("{:9}about {}: {}", "Takes", long(estimate.seconds), parts.join(", ")),
        format!("{:9}about ${} at AWS", "Costs", plain(&estimate.dollars)),
        format!("  {}", plain(&estimate.assumes)),
    ]
}

/// The preflight before a rollover, in a line.
pub(crate) fn before(preflight: &Preflight) -> String {
    let ready = preflight.ready_then;
    let then =
        format!("job {} at {}: {} of {} devices were ready", preflight.job, preflight.at, ready.ready, ready.devices);
    let Some(Changed { enrolled, left, edited, still_open }) = &preflight.changed_since else { return then };
    let changes = [("enrolled", enrolled), ("left", left), ("edited", edited), ("still not ready", still_open)];
    let said = changes.iter().filter(|(_, named)| named.count > 0);
    let said: Vec<String> = said.map(|(what, named)| format!("{what}: {}", counted(named))).collect();
    match said.is_empty() {
        true => format!("{then}; nothing has changed since"),
        false => format!("{then}; since then {}", said.join("; ")),
    }
}

fn counted(named: &Named) -> String {
    listed(named.count, &named.names)
}

/// `3 (bmc-1, bmc-2 and 1 more)`
fn listed(count: u64, names: &[String]) -> String {
    let more = count.saturating_sub(names.len() as u64);
    let shown = plain(&names.join(", "));
    match (names.is_empty(), more) {
        (true, _) => count.to_string(),
        (false, 0) => format!("{count} ({shown})"),
        (false, more) => format!("{count} ({shown} and {more} more)"),
    }
}

/// In the two largest units.
fn long(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (length, unit) in units {
        if left >= length {
            parts.push(format!("{} {unit}", left / length));
            left %= length;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use serde_json::{from_value, json};

    use super::{before, describe, devices, long};

    #[test]
    fn a_report_says_who_is_not_ready_and_what_a_rollover_takes() {
        let report = from_value(json!({
            "devices": 25, "ready": 12, "notReady": 13, "reissued": 4, "read": 24, "meanMillis": 210,
            "findings": [
                { "finding": "clock", "devices": 12, "names": ["bmc-1", "bmc-2"], "recovery": "Correct it." },
                { "finding": "connect", "devices": 1, "names": ["bmc-3"], "recovery": "Switch it on." },
            ],
            "stranded": { "count": 1, "names": ["\\VED\\Policy\\Certificates\\web"] },
            "estimate": { "seconds": 86_520, "dollars": "0.0012", "assumes": "List prices.", "parts": [
                { "phase": "distribute", "devices": 25, "waves": 2, "seconds": 120, "dollars": "0.0012" },
                { "phase": "holdDown", "devices": 0, "waves": 0, "seconds": 86_400, "dollars": "0.0000" },
            ] },
        }));
        assert_eq!(
            describe(&report.unwrap()),
            "12 of 25 devices are ready for a rollover.\n\
             \x20 clock: 12 (bmc-1, bmc-2 and 10 more)\n    Correct it.\n\
             \x20 connect: 1 (bmc-3)\n    Switch it on.\n\
             Renews   4 of our own, which the rollover replaces\n\
             Strands  imported certificates under a root of today: 1 (\\VED\\Policy\\Certificates\\web)\n\
             \x20   Their owners replace them, or they hold up the end of the old root.\n\
             Takes    about 1 d 2 min: distribute 2 min (25 devices, waves: 2), holdDown 1 d\n\
             Costs    about $0.0012 at AWS\n  List prices."
        );
    }

    #[test]
    fn a_rollover_says_what_changed_since_its_preflight() {
        let preflight = |changed: serde_json::Value| {
            let ready = json!({ "devices": 25, "ready": 24 });
            from_value(json!({ "job": 6, "at": "2026-06-01T12:00:00Z", "readyThen": ready, "changedSince": changed }))
                .unwrap()
        };
        let none = json!({ "count": 0 });
        let nothing = json!({ "enrolled": none, "left": none, "edited": none, "stillOpen": none });
        let then = "job 6 at 2026-06-01T12:00:00Z: 24 of 25 devices were ready";
        assert_eq!(before(&preflight(nothing)), format!("{then}; nothing has changed since"));
        let one = json!({ "count": 1, "names": ["bmc-9"] });
        let some = json!({ "enrolled": one, "left": none, "edited": none, "stillOpen": { "count": 1 } });
        assert_eq!(before(&preflight(some)), format!("{then}; since then enrolled: 1 (bmc-9); still not ready: 1"));
    }

    #[test]
    fn each_device_is_told_with_its_message() {
        let read = json!({ "device": "a", "leg": "preflight", "state": "acked", "attempt": 1, "findings": [
            { "finding": "clock", "message": "It is behind.", "recovery": "" },
            { "finding": "noRoom", "message": "0 of 4.", "recovery": "" },
        ] });
        let failed = json!({ "device": "b", "leg": "preflight", "state": "failed", "attempt": 1, "class": "connect", "message": "refused\n" });
        let tasks = from_value::<Vec<_>>(json!([read, failed])).unwrap();
        assert_eq!(
            devices(&tasks, 9),
            "  a  clock: It is behind.\n  a  noRoom: 0 of 4.\n  b  connect: refused \nand 7 more"
        );
    }

    #[test]
    fn a_duration_has_its_two_largest_units() {
        assert_eq!([0, 59, 3600, 90_061].map(long), ["0 s", "59 s", "1 h", "1 d 1 h"]);
    }
}
