//! Failed devices, grouped by what went wrong: what to do about it, and a button that tries those again.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rootcast_core::job::JobState;
use rootcast_dialects::native::{Summary, Task};
use rootcast_gate::routes;

use crate::api::Told;
use crate::caller::Caller;
use crate::frame::{SPACE, csrf};
use crate::jobs::Tasks;
use crate::parts::{or_why, plain, segment, text_field, word};
use crate::rights::Rights;

pub(crate) fn grouped(caller: &Caller, rights: &Rights, job: &Summary, failed: Result<Tasks, Told>) -> Markup {
    html! {
        @if !failed.as_ref().is_ok_and(|failed| failed.tasks.is_empty()) {
            section.card aria-labelledby="failed" {
                h2 id="failed" { "Failed devices" }
                (or_why(failed, |Tasks { tasks, cursor }| html! {
                    @for (class, tasks) in &by_class(&tasks) { (group(caller, rights, job, class, tasks)) }
                    @if cursor.is_some() { p.soft { "These are the first hundred; there are more." } }
                    @if job.state != JobState::Ended && rights.may(routes::WAIVE) { (waive(caller, job, &tasks)) }
                }))
            }
        }
    }
}

fn by_class(tasks: &[Task]) -> BTreeMap<String, Vec<&Task>> {
    let mut groups: BTreeMap<String, Vec<&Task>> = BTreeMap::new();
    for task in tasks {
        let class = task.class.map_or_else(|| "unknown".to_owned(), |class| word(&class));
        groups.entry(class).or_default().push(task);
    }
    groups
}

fn group(caller: &Caller, rights: &Rights, job: &Summary, class: &str, tasks: &[&Task]) -> Markup {
    let advice = tasks.iter().find_map(|task| task.recovery.as_deref());
    html! {
        h3 { (plain(class)) ": " (tasks.len()) (if tasks.len() == 1 { " device" } else { " devices" }) }
        @if let Some(advice) = advice { p { (advice) } }
        ul.small {
            @for task in tasks.iter().take(25) {
                li {
                    a href={ "/console/devices/" (segment(&task.device.to_string())) } { (task.device) }
                    @if let Some(message) = &task.message { ": " (message) }
                }
            }
            @if tasks.len() > 25 { li.soft { "and " (tasks.len() - 25) " more" } }
        }
        @if rights.may(routes::RETRY_JOB) {
            form method="post" action={ "/console/jobs/" (job.id) "/retry" } {
                (csrf(caller))
                input type="hidden" name="class" value=(class);
                button.quiet id={ "retry-" (class) } { "Retry these" }
            }
        }
    }
}

/// A rollover then goes on without them.
fn waive(caller: &Caller, job: &Summary, tasks: &[Task]) -> Markup {
    html! {
        div.acts { details {
            summary { "Waive…" }
            p { "The rollover no longer waits for the devices that you choose. They may lack the new root when it signs: whoever relies on them sees failures until they are mended." }
            form method="post" action={ "/console/jobs/" (job.id) "/waive" } {
                (csrf(caller))
                fieldset {
                    legend { "Devices" }
                    @for task in tasks {
                        label.check { input type="checkbox" name="device" value=(task.device); (task.device) }
                    }
                }
                (text_field("reason", "Why the rollover does not wait for them", ""))
                (text_field("typed", "Type “waive” to confirm", ""))
                button.grave { "Waive" } (SPACE)
            }
        } }
    }
}
