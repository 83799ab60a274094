//! The search, and the proof that it can fail: whoever may reach a goal is seen to reach it, and so is a world gone bad.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rootcast_core::access::permission::{Operation, Role};
use rootcast_core::access::second::{Ask, AskId, Decision, LIFETIME, MOST_OPEN, Person, Verdict};
use rootcast_core::audit::{Act, Action, Actor, Name, Subject};
use rootcast_gate::routes::{self, Needs, Route, TABLE};
use rootcast_ledger::TokenRecord;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};

use super::calls::{Call, all_routes};
use super::goals::{Fact, Goal, Watch, outlives};
use super::roles::Attacker;
use super::scene::{ATTACKER, EPOCH, OTHER, SHARED_PASSWORD, Scene, THEIRS};
use super::search::{Explored, Sample, Step, Task, every_call, explore, explore_all, next, search};
use crate::clock;
use crate::dynamo::{ACCESS, AUDIT};
use crate::world::World;

/// States per attacker in the README's test command.
const SECONDS: usize = 1;
const THIRDS: usize = 1;
const THOROUGH: usize = 3;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn no_attacker_obtains_more_than_the_role_gives() {
    let attackers = Attacker::all();
    let most = number("ROOTCAST_ATTACKS").map(|states| usize::try_from(states).unwrap());
    let seed = number("ROOTCAST_SEED").unwrap_or(1);
    let sample = Sample {
        seconds: most.unwrap_or(SECONDS),
        thirds: most.unwrap_or(THIRDS),
        thorough: most.map_or(THOROUGH, |_| usize::MAX),
        seed,
    };
    let found = search(&attackers, sample);
    for (at, attacker) in attackers.iter().enumerate() {
        let told: Vec<String> = found.iter().map(|level| counts(level.iter().filter(|of| of.attacker == at))).collect();
        eprintln!("{}: {}", attacker.name, told.join("; "));
    }
    for (calls, level) in (1..).zip(&found) {
        eprintln!("{calls} calls: {}", counts(level.iter()));
    }
    let silent: BTreeSet<&String> = found.iter().flatten().flat_map(|explored| &explored.unrecorded).collect();
    assert!(silent.is_empty(), "refused, and not in the caller's chain of denials: {silent:#?}");
    // The shortest sequence for each.
    let mut wrong: BTreeMap<(&str, String), String> = BTreeMap::new();
    for (who, path, facts) in found.iter().flatten().flat_map(|explored| obtained(&attackers, explored)) {
        wrong.entry((who, facts)).or_insert(path);
    }
    assert!(wrong.is_empty(), "obtained what the role does not give: {wrong:#?}");
}

#[test]
fn two_runs_find_the_same_sequences_to_go_on_from() {
    let attackers = [Attacker::administrator()];
    let task = (0, Vec::new(), every_call());
    let both = explore_all(&attackers, &[task.clone(), task]);
    let sequences = |explored: Explored| {
        let mut known = [BTreeSet::from([explored.state])];
        next(&[explored], &[Vec::new()], &mut known).into_iter().map(|(_, path, _)| path).collect::<Vec<_>>()
    };
    let [one, other]: [Vec<_>; 2] = both.into_iter().map(sequences).collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(one, other);
    assert!(one.len() > 10, "{one:?}");
}

#[test]
fn a_seed_chooses_the_same_sequences_whatever_else_there_is() {
    let attackers = [Attacker::administrator()];
    let task = |call: usize| (0, vec![(0, call)], Vec::new());
    let chosen = |seed, tasks: Vec<Task>| {
        let sample = Sample { seconds: 0, thirds: 0, thorough: 0, seed };
        sample.of(&attackers, tasks, 10).into_iter().map(|(_, path, _)| path).collect::<Vec<_>>()
    };
    let (first, again) = (chosen(1, (0..100).map(task).collect()), chosen(1, (0..100).rev().map(task).collect()));
    assert_eq!(first, again);
    let fewer = chosen(1, (1..100).map(task).collect());
    assert!(first.iter().filter(|path| !fewer.contains(path)).all(|path| *path == [(0, 0)]), "{first:?} {fewer:?}");
    assert_ne!(first, chosen(2, (0..100).map(task).collect()));
}

fn counts<'a>(explored: impl Iterator<Item = &'a Explored>) -> String {
    let (mut from, mut sequences, mut refused, mut states) = (0, 0, 0, BTreeSet::new());
    for Explored { attacker, tried, .. } in explored {
        from += 1;
        sequences += tried.len();
        refused += tried.values().filter(|tried| tried.answer.status >= 400).count();
        states.extend(tried.values().filter_map(|tried| Some((*attacker, tried.led_to?))));
    }
    format!("{sequences} sequences from {from} states, {refused} refused, {} states after", states.len())
}

/// The sequences that obtain something which the role does not give: who made them, and what was obtained.
fn obtained<'a>(
    attackers: &'a [Attacker],
    explored: &'a Explored,
) -> impl Iterator<Item = (&'a str, String, String)> + 'a {
    let attacker = &attackers[explored.attacker];
    explored.tried.values().filter_map(move |tried| {
        let facts = tried.facts.iter().filter(|fact| !fact.goal.is_given_to(attacker));
        let facts: Vec<String> = facts.map(ToString::to_string).collect();
        let before = explored.labels.iter().map(String::as_str);
        let path: Vec<&str> = before.chain([tried.label.as_str()]).collect();
        (!facts.is_empty()).then(|| (attacker.name.as_str(), path.join(", then "), facts.join("; ")))
    })
}

/// Routes, and the labels of their calls.
type Calls = &'static [(Route, &'static str)];

/// Makes calls by their labels, and returns the goals that were reached.
async fn reached(scene: &Scene, calls: Calls) -> BTreeSet<Goal> {
    let mut watch = Watch::of(&scene.world);
    let mut facts: Vec<Fact> = Vec::new();
    for (route, label) in calls {
        let known = scene.calls(route);
        let call = known.iter().find(|call| call.label.ends_with(&format!("{}: {label}", route.path)));
        let call = call.unwrap_or_else(|| panic!("no call is {} {label}", route.path));
        let answer = scene.call(route, call).await;
        assert!(answer.status < 400, "{}: {}", call.label, answer.text);
        facts.extend(watch.of_answer(&answer));
        facts.extend(watch.reached(scene));
    }
    facts.into_iter().map(|fact| fact.goal).collect()
}

fn in_a_scene<T: 'static>(attacker: Attacker, what: impl AsyncFnOnce(&Scene) -> T + 'static) -> T {
    World::live(1, async move |world| what(&Scene::build(world, attacker).await).await)
}

#[test]
fn an_administrator_is_seen_to_reach_what_the_role_gives() {
    use Goal::{
        Abort, Activation, Approval, Callers, DeployedKey, ExportedKey, MovedCredential, Name, Revocation, Root, Waiver,
    };
    let sequences: [(Calls, &[Goal]); 9] = [
        (
            &[(routes::EDIT_DEVICE, "victim, attacker's server"), (routes::RENEW_OWN, "victim")],
            &[MovedCredential, Approval, Revocation],
        ),
        (&[(routes::SCM_EXPORT, "imported")], &[ExportedKey]),
        (&[(routes::APPROVE_DEVICE, "mine"), (routes::SCM_DEPLOY, "imported, mine")], &[DeployedKey, Approval]),
        (
            &[
                (routes::SET_ISSUANCE_POLICY, "any"),
                (routes::EDIT_DEVICE, "victim, foreign name"),
                (routes::RENEW_OWN, "victim"),
            ],
            &[Name, Approval, Revocation],
        ),
        (&[(routes::DELETE_DEVICE, "slow"), (routes::RESUME, "running")], &[Activation]),
        (&[(routes::WAIVE, "running, slow")], &[Waiver]),
        (&[(routes::ADD_PRINCIPAL, "")], &[Callers]),
        (&[(routes::ABORT_JOB, "running")], &[Abort]),
        (&[(routes::REVOKE_SIGNED, "by serial number")], &[Revocation]),
    ];
    in_a_scene(Attacker::administrator(), async move |scene| {
        let before = scene.world.snapshot();
        for (calls, expected) in sequences {
            let goals = reached(scene, calls).await;
            assert_eq!(goals, expected.iter().copied().collect(), "{calls:?}\n{}", scene.world.cloud.trace());
            scene.world.restore(&before);
        }
        assert_eq!(reached(scene, &[]).await, BTreeSet::new());
    });
    in_a_scene(Attacker::administrator().in_a_calm_fleet(), async |scene| {
        let goals = reached(scene, &[(routes::REGENERATE, "immediate")]).await;
        assert_eq!(goals, BTreeSet::from([Activation, Root]));
    });
    in_a_scene(Attacker::administrator().in_a_calm_fleet(), async |scene| {
        let goals = reached(scene, &[(routes::REGENERATE, "compromised")]).await;
        assert!(goals.is_superset(&[Activation, Goal::Compromise, Root].into()), "{goals:?}");
    });
}

/// Each call that waits for a second person, at first and after its confirmation by the one who asked.
#[test]
fn nobody_is_a_second_person_to_oneself() {
    let attackers = [Attacker::without_a_second_person()];
    let of = |route: Route| all_routes().find(|(_, known)| **known == route).map(|(place, _)| (place, 0)).unwrap();
    let (confirm, reject) = (of(routes::CONFIRM), of(routes::REJECT));
    let operation = |place: usize| match TABLE[place].needs {
        Needs::Operation(operation, _) => Some(operation),
        _ => None,
    };
    let calls: Vec<Step> = every_call().into_iter().filter(|(place, _)| operation(*place).is_some()).collect();
    let first = explore(&attackers, 0, &[], &calls);
    let waits = first.tried.iter().filter(|(_, tried)| tried.answer.status == 202 && tried.led_to.is_some());
    let waits: Vec<Step> = waits.map(|(step, _)| *step).collect();
    let asked: BTreeSet<_> = waits.iter().filter_map(|(place, _)| operation(*place)).collect();
    assert_eq!(asked, Operation::ALL.iter().copied().collect(), "each operation waits");
    let tasks: Vec<Task> = waits.iter().map(|call| (0, vec![*call], vec![confirm, *call, reject])).collect();
    for second in explore_all(&attackers, &tasks) {
        let call = second.path[0];
        let answers = [confirm, call, reject].map(|step| second.tried[&step].answer.status);
        assert_eq!(answers, [403, 202, 200], "{:?}", second.labels);
        assert_eq!(second.tried[&call].led_to, None, "{:?}", second.labels);
    }
}

#[test]
fn a_second_person_is_enough() {
    in_a_scene(Attacker::without_a_second_person(), async |scene| {
        let mut watch = Watch::of(&scene.world);
        let call = scene.calls(&routes::WAIVE).swap_remove(0);
        assert_eq!(scene.call(&routes::WAIVE, &call).await.status, 202);
        assert_eq!(watch.reached(scene), []);
        let ledger = scene.world.functions.ledger();
        let ask = ledger.ask(&scene.request().unwrap().parse().unwrap()).await.unwrap().unwrap();
        let (by, at) = (OTHER.parse().unwrap(), clock::now());
        let decision = Decision {
            verdict: Verdict::Confirmed,
            person: Person::from(&by),
            by,
            epoch: EPOCH,
            at,
            reason: None,
            expires: at + time::Duration::HOUR,
        };
        let act = Act::new(Subject::Request(Name::of(OTHER)), Action::Confirm, &Actor::function("tests"), at);
        ledger.put_decision(&ask, &decision, &act).await.unwrap();
        assert!(scene.call(&routes::WAIVE, &call).await.status < 300);
        let goals: Vec<Goal> = watch.reached(scene).iter().map(|fact| fact.goal).collect();
        assert_eq!(goals, [Goal::Waiver]);
    });
}

#[test]
fn nobody_has_more_than_a_hundred_open_requests() {
    in_a_scene(Attacker::without_a_second_person(), async |scene| {
        let send = async |route: &Route, path: String, body: Value| {
            let body = Some(body).filter(|body| !body.is_null());
            scene.send(route, &Call { label: String::new(), path, body }).await
        };
        let ask =
            async |n: usize| send(&routes::REGENERATE, format!("/signingCertificate?reason={n}"), Value::Null).await;
        for n in 0..MOST_OPEN {
            assert_eq!(ask(n).await.status, 202, "{n}");
        }
        let refused = ask(MOST_OPEN).await;
        assert!(refused.status == 409 && refused.text.contains("withdraw"), "{refused:?}");
        assert_eq!(ask(0).await.status, 202, "it waits already");

        let open: Value =
            serde_json::from_str(&send(&routes::REQUESTS, "/requests".to_owned(), Value::Null).await.text).unwrap();
        let open = open["response"]["requests"].as_array().unwrap();
        assert_eq!(open.len(), MOST_OPEN);
        let reject = format!("/requests/{}/reject", open[0]["id"].as_str().unwrap());
        assert_eq!(send(&routes::REJECT, reject, json!({ "reason": "too many" })).await.status, 200);
        assert_eq!((ask(MOST_OPEN).await.status, ask(MOST_OPEN + 1).await.status), (202, 409));

        // A day later, what was asked has expired, and makes room.
        let (ledger, by) = (scene.world.functions.ledger(), ATTACKER.parse().unwrap());
        let later = clock::now() + LIFETIME + time::Duration::HOUR;
        assert!(ledger.open_asks(&by, clock::now()).await.unwrap().is_full());
        let left = ledger.open_asks(&by, later).await.unwrap();
        assert!(!left.is_full());
        let (digest, first) = (Fingerprint::of(b"later"), open[1]["id"].as_str().unwrap().parse().unwrap());
        let first = ledger.ask(&first).await.unwrap().unwrap();
        let ask = Ask { ask: AskId::new(&digest, [0; 6]), digest, expires: later + LIFETIME, ..first };
        let subject = Subject::Request(Name::of(ask.ask.as_str()));
        let act = Act::new(subject, Action::Request, &Actor::function("tests"), later);
        ledger.put_ask(&ask, None, &left, &act).await.unwrap();
        let row = scene.world.cloud.tables.named(ACCESS, &format!("request#by#{ATTACKER}")).unwrap();
        assert_eq!(row.as_object().unwrap().len(), ["id", "made", "expires", "the open one"].len(), "{row}");
    });
}

#[test]
fn a_world_gone_bad_is_seen() {
    in_a_scene(Attacker::all().swap_remove(1), async |scene| {
        let (world, before) = (&scene.world, scene.world.snapshot());
        let mut watch = Watch::of(world);
        let mut now = async |what: &str, goal: Goal| {
            let goals: Vec<Goal> = watch.clone().reached(scene).iter().map(|fact| fact.goal).collect();
            assert!(goals == [goal], "{what}: {goals:?}");
            assert!(!goal.is_given_to(&scene.attacker), "{what}");
            world.restore(&before);
            assert_eq!(watch.reached(scene), []);
        };

        world.cloud.fleet.at(THEIRS, |bmc| bmc.logins.push(SHARED_PASSWORD.to_owned()));
        now("a shared credential at the attacker's server", Goal::Credential).await;
        world.cloud.fleet.at(THEIRS, |bmc| bmc.keys += 1);
        now("a key at a device that is not approved", Goal::UnapprovedKey).await;
        world.ask("POST", &format!("/jobs/{}/waive", scene.job), json!({ "devices": ["slow"], "reason": "x" })).await;
        now("a waiver", Goal::Waiver).await;
        let ledger = world.functions.ledger();
        let token = |lives: i64| TokenRecord {
            principal: "eve".to_owned(),
            grants: Role::Operator.into(),
            granted: None,
            exchanged: None,
            created: clock::now(),
            expires: clock::now() + time::Duration::hours(lives),
        };
        ledger.put_token(&Fingerprint::of(b"from nothing"), &token(1)).await.unwrap();
        now("a token from nothing", Goal::Token).await;
        for changed in ["a line is another one", "a line is gone"] {
            let mut rows = world.cloud.tables.rows();
            let is_line = |id: &str| id.contains("audit#000000000001");
            let key = rows.keys().find(|(table, id)| *table == AUDIT && is_line(id)).unwrap().clone();
            match changed {
                "a line is gone" => _ = rows.remove(&key),
                _ => rows.get_mut(&key).unwrap()["line"] = json!({ "S": "{}" }),
            }
            world.cloud.tables.restore(&rows);
            let facts = watch.clone().reached(scene);
            assert!(!facts.is_empty() && facts.iter().all(|fact| fact.goal == Goal::Audit), "{changed}: {facts:?}");
            world.restore(&before);
        }
        assert!(outlives(scene).await.is_none());
        // The attacker's token, as if it had been made a day later.
        world.cloud.tables.restore(&{
            let mut rows = world.cloud.tables.rows();
            let later = (clock::now() + Duration::from_secs(25 * 3600)).unix_timestamp();
            for row in rows.values_mut().filter(|row| row["principal"]["S"] == "eve") {
                row["created"] = json!({ "N": later.to_string() });
                row["expires"] = json!({ "N": (later + 48 * 3600).to_string() });
            }
            rows
        });
        assert_eq!(outlives(scene).await.map(|fact| fact.goal), Some(Goal::Token));
    });
}

/// Routes without a call that succeeds at once, and why.
const NOT_AT_ONCE: [(Route, &str); 30] = [
    (routes::REGENERATE_LOWER, "another job is running: it succeeds after an abort"),
    (routes::PREFLIGHT, "in the same way"),
    (routes::TRUST, "in the same way"),
    (routes::TRUST_LOWER, "in the same way"),
    (routes::DISTRUST, "there is none"),
    (routes::DISTRUST_LOWER, "there is none"),
    (routes::TRUSTED, "there is none"),
    (routes::TRUSTED_DETAIL, "there is none"),
    (routes::PAUSE, "the job is paused"),
    (routes::ROLL_BACK, "the new root does not sign yet"),
    (routes::KEEP_ROOT, "no root is retired"),
    (routes::ROLLOUT, "none is stored"),
    (routes::DELETE_ROLLOUT, "none is stored"),
    (routes::SCM_DELETE, "the certificates are in use"),
    (routes::DOWNLOAD, "asks for a private key"),
    (routes::RESET, "nothing failed"),
    (routes::RETRY, "nothing failed"),
    (routes::LOG_IN, "the password is not known"),
    (routes::EXCHANGE, "a token of another kind"),
    (routes::BEGIN_SESSION, "the password is not known"),
    (routes::END_SESSION, "there is no session"),
    (routes::END_ONES_SESSION, "there is no session"),
    (routes::POLICY_AUDIT, "the policies are the first ones"),
    (routes::DENIAL_AUDIT, "nothing was denied"),
    (routes::REQUEST_AUDIT, "nothing ever waited for a second person"),
    (routes::REQUEST, "nothing waits for a second person"),
    (routes::CONFIRM, "nothing waits for a second person"),
    (routes::REJECT, "nothing waits for a second person"),
    (routes::OF_IAM, "API Gateway lets them in"),
    (routes::OF_OIDC, "API Gateway lets them in"),
];

/// Otherwise an attack would be refused for a mistake in its body.
#[test]
fn an_administrators_calls_succeed() {
    let tried = explore(&[Attacker::administrator()], 0, &[], &every_call()).tried;
    let mut succeeds: BTreeMap<usize, bool> = all_routes().map(|(place, _)| (place, false)).collect();
    for ((place, _), tried) in &tried {
        *succeeds.get_mut(place).unwrap() |= tried.answer.status < 400;
    }
    let unexpected = succeeds.iter().filter(|(place, succeeds)| {
        let expected = !NOT_AT_ONCE.iter().any(|(known, _)| *known == TABLE[**place]);
        **succeeds != expected
    });
    let unexpected: Vec<String> =
        unexpected.map(|(place, succeeds)| format!("{} succeeds: {succeeds}", TABLE[*place].path)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}
