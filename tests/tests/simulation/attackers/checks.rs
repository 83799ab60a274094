//! The search itself, and the proof that it can fail.

use std::collections::{BTreeMap, BTreeSet};

use rootcast_gate::routes::TABLE;

use super::goals::Fact;
use super::roles::Attacker;
use super::search::search;
use crate::world::World;

/// States per attacker in which a third call is tried, in the README's test command.
const SAMPLE: usize = 2;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_attacker_obtains_more_than_the_role_gives() {
    let attackers = Attacker::all();
    let sample = number("ROOTCAST_ATTACKS").map_or(SAMPLE, |states| usize::try_from(states).unwrap());
    let found = search(&attackers, sample, number("ROOTCAST_SEED").unwrap_or(1));
    let mut wrong: BTreeSet<String> = BTreeSet::new();
    for (at, attacker) in attackers.iter().enumerate() {
        let mut told = format!("{}:", attacker.name);
        for (level, explored) in found.iter().enumerate() {
            let mine = || explored.iter().filter(|explored| explored.attacker == at);
            let tried = || mine().flat_map(|explored| explored.tried.values());
            let sequences = tried().count();
            let denied = tried().filter(|tried| tried.answer.is_denial()).count();
            let states: BTreeSet<u64> = tried().filter_map(|tried| tried.led_to).collect();
            told += &format!(
                " {sequences} of {} calls from {} states ({denied} denied, {} states after);",
                level + 1,
                mine().count(),
                states.len(),
            );
        }
        eprintln!("{told}");
    }
    for explored in found.iter().flatten() {
        let attacker = &attackers[explored.attacker];
        for (step, tried) in &explored.tried {
            let obtained: Vec<&Fact> = tried.facts.iter().filter(|fact| !fact.goal.is_given_to(attacker)).collect();
            if !obtained.is_empty() {
                let path: Vec<String> =
                    explored.path.iter().chain([step]).map(|(route, call)| format!("{} #{call}", TABLE[*route].path)).collect();
                let facts: Vec<String> = obtained.iter().map(ToString::to_string).collect();
                wrong.insert(format!("{}: {} ({}): {}", attacker.name, path.join(" -> "), tried.label, facts.join("; ")));
            }
        }
    }
    let few: Vec<&String> = wrong.iter().take(60).collect();
    assert!(wrong.is_empty(), "{} sequences obtain what they must not:\n{few:#?}", wrong.len());
    let _ = BTreeMap::<u8, u8>::new();
}

#[test]
fn measure() {
    let rows = || World::live(1, async move |world| {
        let scene = super::scene::Scene::build(world, Attacker::administrator()).await;
        let one = super::search::told(&scene);
        tokio::time::sleep(std::time::Duration::from_secs(1000)).await;
        (one, super::search::told(&scene))
    });
    let (one, later) = rows();
    let (other, _) = rows();
    for (a, b) in [(&one, &later), (&one, &other)] {
        eprintln!("=======");
        for row in a.iter().filter(|row| !b.contains(row)) { eprintln!("- {row}"); }
        for row in b.iter().filter(|row| !a.contains(row)) { eprintln!("+ {row}"); }
    }
}

#[test]
fn measure2() {
    let began = cpu(0.0);
    let calls = super::search::every_call();
    eprintln!("{} calls, world {:?}", calls.len(), cpu(began));
    for attacker in [Attacker::all()[0].clone(), Attacker::all()[1].clone(), Attacker::administrator()] {
        let began = cpu(0.0);
        let explored = super::search::explore(&[attacker.clone()], 0, &[], &calls);
        eprintln!("{} {:?} {}", attacker.name, cpu(began), explored.tried.values().filter(|tried| tried.led_to.is_some()).count());
        for (step, tried) in &explored.tried {
            eprintln!("{step:?} {} = {} {:?} {:?} {}", tried.label, tried.answer.status, tried.led_to, tried.facts.iter().map(ToString::to_string).collect::<Vec<_>>(), &tried.answer.text.chars().take(100).collect::<String>());
        }
    }
}

fn cpu(since: f64) -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9 - since
}
