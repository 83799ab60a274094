//! Tries sequences of calls.
//!
//! What is left out, and why that loses nothing:
//! - A call that changes nothing leads nowhere new, so it is only ever the last one. It leaves the world as it is, and
//!   the next call is tried in the same world.
//! - Two sequences that lead to the same state are continued once. A state is what the tables hold without times,
//!   counters of edits and random texts, and without the audit, which no decision reads.
//! - What the table of routes refuses for want of a right or an operation is tried once for each attacker: the refusal
//!   depends on the caller alone, and a change of the caller would be a goal that was reached.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rootcast_gate::routes::{Needs, TABLE};
use serde_json::Value;

use super::calls::{all_routes, is_never_admitted};
use super::goals::{Fact, Watch, outlives};
use super::roles::Attacker;
use super::scene::{Answer, Scene, settle};
use crate::dynamo::NAMES;
use crate::world::World;

/// A route's place in the table, and the place of a call among its calls.
pub type Step = (usize, usize);

/// A call after a sequence of others.
pub struct Tried {
    pub label: String,
    pub answer: Answer,
    /// The state that it led to, if that is another one.
    pub led_to: Option<u64>,
    pub facts: Vec<Fact>,
}

/// What came of a state's calls.
pub struct Explored {
    pub attacker: usize,
    pub path: Vec<Step>,
    /// What these calls are.
    pub labels: Vec<String>,
    pub state: u64,
    pub tried: BTreeMap<Step, Tried>,
    /// Denials without a record.
    pub unrecorded: Vec<String>,
}

/// Denials of a caller that a process records within a minute: the next one meets a new process.
const RECORDED: u32 = 10;

/// The same seed for each world: all differences come from the calls.
const SEED: u64 = 1;

/// Makes each of the calls after the sequence, all in the same state.
pub fn explore(attackers: &[Attacker], attacker: usize, path: &[Step], calls: &[Step]) -> Explored {
    let (who, path, calls) = (attackers[attacker].clone(), path.to_vec(), calls.to_vec());
    World::live(SEED, async move |world| {
        let scene = Scene::build(world, who).await;
        let mut watch = Watch::of(&scene.world);
        let mut labels = Vec::new();
        for (route, call) in &path {
            let route = &TABLE[*route];
            let call = scene.calls(route).swap_remove(*call);
            scene.call(route, &call).await;
            labels.push(call.label);
        }
        let (tables, before) = (&scene.world.cloud.tables, watch.clone());
        let (state, snapshot) = (fingerprint(&scene), scene.world.snapshot());
        let (mut tried, mut unrecorded) = (BTreeMap::new(), Vec::new());
        let mut refused = 0;
        for step in calls {
            let route = &TABLE[step.0];
            let call = scene.calls(route).swap_remove(step.1);
            let is_about_nothing = scene.is_about_nothing(&call);
            let (written, denials) = (tables.write_units_without_audit(), scene.denials());
            let answer = scene.call(route, &call).await;
            let (mut led_to, mut facts) = (None, watch.of_answer(&answer));
            let has_written = tables.write_units_without_audit() != written;
            if answer.is_denial() {
                refused += 1;
                if scene.denials() <= denials && !is_about_nothing {
                    unrecorded.push(format!("{labels:?}, then {}: {}", call.label, answer.text));
                }
            }
            if has_written {
                facts.extend(watch.reached(&scene));
                let now = fingerprint(&scene);
                led_to = (now != state).then_some(now);
                if led_to.is_some() {
                    facts.extend(outlives(&scene).await);
                }
            }
            if has_written {
                // A day later, the schedules may have found something to do.
                settle(&scene.world).await;
                scene.world.restore(&snapshot);
                watch = before.clone();
            } else if answer.is_denial() && refused % RECORDED == 0 {
                scene.world.functions.cool();
            }
            tried.insert(step, Tried { label: call.label, answer, led_to, facts });
        }
        Explored { attacker, path, labels, state, tried, unrecorded }
    })
}

/// Explores on every core.
pub fn explore_all(attackers: &[Attacker], tasks: &[Task]) -> Vec<Explored> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((attacker, path, calls)) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let explored = explore(attackers, *attacker, path, calls);
                    done.lock().unwrap().push(explored);
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by(|one, other| (one.attacker, &one.path).cmp(&(other.attacker, &other.path)));
    done
}

/// Every call that there is. They are the same for everybody.
pub fn every_call() -> Vec<Step> {
    World::live(SEED, async |world| {
        let scene = Scene::build(world, Attacker::administrator()).await;
        let of = |(place, route)| (0..scene.calls(route).len()).map(move |call| (place, call));
        all_routes().flat_map(of).collect()
    })
}

/// All sequences of one call. Two and three calls: from a sample of the states of each attacker.
pub fn search(attackers: &[Attacker], sample: Sample) -> Vec<Vec<Explored>> {
    let calls = every_call();
    let first: Vec<_> = (0..attackers.len()).map(|attacker| (attacker, Vec::new(), calls.clone())).collect();
    let first = explore_all(attackers, &first);
    let mut known: Vec<BTreeSet<u64>> = first.iter().map(|explored| BTreeSet::from([explored.state])).collect();
    let admitted: Vec<Vec<Step>> = first.iter().map(|first| admitted(attackers, first)).collect();
    let second = sample.of(attackers, next(&first, &admitted, &mut known), sample.seconds);
    let second = explore_all(attackers, &second);
    let third = sample.of(attackers, next(&second, &admitted, &mut known), sample.thirds);
    let third = explore_all(attackers, &third);
    vec![first, second, third]
}

/// Most states per attacker from which a second and a third call is tried.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub seconds: usize,
    pub thirds: usize,
    /// From which a thorough attacker tries a second one.
    pub thorough: usize,
    pub seed: u64,
}

/// An attacker, the calls made, and those to be tried now.
pub type Task = (usize, Vec<Step>, Vec<Step>);

impl Sample {
    /// Whether a sequence is taken depends on the seed and on its calls, so that a failure can be repeated.
    pub fn of(self, attackers: &[Attacker], mut tasks: Vec<Task>, most: usize) -> Vec<Task> {
        tasks.sort_by_cached_key(|(attacker, path, _)| {
            let mut hasher = DefaultHasher::new();
            (self.seed, attacker, path).hash(&mut hasher);
            hasher.finish()
        });
        let mut taken = BTreeMap::new();
        tasks.retain(|(attacker, path, _)| {
            let taken = taken.entry(*attacker).or_insert(0);
            *taken += 1;
            let is_thorough = path.len() == 1 && attackers[*attacker].thorough;
            *taken <= if is_thorough { self.thorough } else { most }
        });
        tasks
    }
}

/// The calls that may ever be answered otherwise than at first.
fn admitted(attackers: &[Attacker], first: &Explored) -> Vec<Step> {
    let is_fixed = |(place, _): &Step, tried: &Tried| {
        let route = &TABLE[*place];
        let unknown = tried.answer.status == 401 && route.needs != Needs::Public;
        unknown || is_never_admitted(route, &attackers[first.attacker])
    };
    first.tried.iter().filter(|(step, tried)| !is_fixed(step, tried)).map(|(step, _)| *step).collect()
}

/// The states that were reached for the first time, to be explored next.
pub fn next(explored: &[Explored], admitted: &[Vec<Step>], known: &mut [BTreeSet<u64>]) -> Vec<Task> {
    let mut tasks = Vec::new();
    for Explored { attacker, path, tried, .. } in explored {
        for (step, call) in tried {
            if call.led_to.is_some_and(|state| known[*attacker].insert(state)) {
                let path: Vec<Step> = path.iter().copied().chain([*step]).collect();
                tasks.push((*attacker, path, admitted[*attacker].clone()));
            }
        }
    }
    tasks
}

/// Attributes that only say when, how often, or in which order.
const VOLATILE: [&str; 19] = [
    "shard",
    "jws",
    "tbs",
    "crl",
    "request",
    "payload",
    "oldest",
    "revision",
    "endpointRevision",
    "begun",
    "history",
    "line",
    "hash",
    "sequence",
    "tries",
    "lease",
    "cursor",
    "message",
    "status",
];

/// The state of the tables, without what differs between two worlds in which the same was done.
pub fn fingerprint(scene: &Scene) -> u64 {
    let mut hasher = DefaultHasher::new();
    told(scene).hash(&mut hasher);
    hasher.finish()
}

/// Each row, as it counts for the state.
pub fn told(scene: &Scene) -> Vec<String> {
    let names = scene.pins.iter().map(|(name, pin)| (*name, pin.as_str()));
    let names: Vec<(&str, &str)> = names.chain([("WEB", scene.web.as_str()), ("OWN", scene.own.as_str())]).collect();
    let mut rows = Vec::new();
    for table in NAMES {
        for row in scene.world.cloud.tables.all(table) {
            let key = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            if key("pk").starts_with("crl#") {
                // Which list it is depends on a random serial number.
                continue;
            }
            let passing = ["attempts#", "signature#"].iter().any(|kind| key("id").starts_with(kind));
            if !passing && !key("sk").starts_with("audit") {
                let mut text = format!("{table} ");
                tell(&row, &names, &mut text);
                rows.push(text);
            }
        }
    }
    rows.sort();
    rows
}

fn tell(value: &Value, names: &[(&str, &str)], text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> =
                fields.iter().filter(|(name, _)| !VOLATILE.contains(&name.as_str())).collect();
            fields.sort_by_key(|(name, _)| *name);
            for (name, value) in fields {
                text.push_str(&plain(name));
                text.push(':');
                tell(value, names, text);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| tell(value, names, text)),
        // A time.
        Value::Number(number) if number.as_f64().is_some_and(|number| number > 1e8) => text.push_str("time "),
        Value::String(said) => {
            let named = names.iter().fold(said.clone(), |said, (name, is)| said.replace(is, name));
            text.push_str(&plain(&named));
            text.push(' ');
        }
        other => text.push_str(&other.to_string()),
    }
}

/// The text without its random parts, which are long and have digits or capitals, and without times.
fn plain(text: &str) -> String {
    let is_random = |letter: char| letter.is_ascii_digit() || letter.is_ascii_uppercase();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=' | '_');
    let mut plain = String::new();
    for part in text.split_inclusive(|letter| !is_word(letter)) {
        let word = part.trim_end_matches(|letter| !is_word(letter));
        let is_time = word.len() >= 12 && word.bytes().all(|letter| letter.is_ascii_digit());
        plain.push_str(if is_time || (word.len() >= 16 && word.contains(is_random)) { "*" } else { part });
    }
    plain
}
