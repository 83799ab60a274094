//! One wrong password per attempt, as observed on the devices.
//!
//! The design allows this: an attempt at a device's task logs in once with a refused password and then fails
//! (`Unauthorized` is not retryable). The device or the message keeps the failure until it is recorded. Another
//! attempt only follows if a person requested one for that job, or changed the device, which then counts as another
//! device, or, for a device that joins, after a day. A worker that dies before recording the failure may cost one
//! more attempt.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::clock;
use crate::cloud::{Cloud, Process};
use crate::dynamo::DEVICES;

/// Clocks differ a little, and due times are in whole seconds.
const DAY: Duration = Duration::from_secs(24 * 3600 - 60);

/// An attempt at a device's task: device, job, pass, number.
type Attempt = (String, u64, String, u64);

/// When a password was refused, and who held the device's lease.
type Refused = Option<(Duration, String)>;

#[derive(Default)]
pub struct Passwords {
    /// Attempts for which a message was sent.
    attempts: Mutex<BTreeMap<Attempt, Refused>>,
    messages: Mutex<BTreeMap<String, Attempt>>,
    /// When people last acted on a job. 0: on certificates and their deployments.
    acts: Mutex<BTreeMap<u64, Duration>>,
}

impl Passwords {
    pub fn become_like(&self, other: &Self) {
        self.attempts.lock().unwrap().clone_from(&other.attempts.lock().unwrap());
        self.messages.lock().unwrap().clone_from(&other.messages.lock().unwrap());
        self.acts.lock().unwrap().clone_from(&other.acts.lock().unwrap());
    }

    /// A person's request that may permit another attempt.
    pub fn acted(&self, path: &str) {
        let job = path.strip_prefix("/jobs/").and_then(|rest| rest.split('/').next()?.parse().ok());
        self.acts.lock().unwrap().insert(job.unwrap_or(0), clock::age());
    }

    /// A message to a worker was sent.
    pub fn sent(&self, cloud: &Cloud, id: &str, body: &str) {
        let Some(attempt) = attempt(body) else { return };
        self.messages.lock().unwrap().insert(id.to_owned(), attempt.clone());
        let mut attempts = self.attempts.lock().unwrap();
        if attempts.contains_key(&attempt) {
            return;
        }
        let (device, job, pass, _) = &attempt;
        let first = (device.clone(), *job, pass.clone(), 0);
        let refused = attempts.range(first..attempt.clone()).filter_map(|(_, refused)| Some(refused.as_ref()?.0)).max();
        // A certificate is brought by a deployment, which is also retried by the certificate's name, or by a rollover.
        let acts = [Some(job), Some(&0).filter(|_| pass == "install")];
        let asked = acts.into_iter().flatten().filter_map(|job| self.acts.lock().unwrap().get(job).copied()).max();
        let may = |refused: Duration| match pass.as_str() {
            "join" => clock::age() >= refused + DAY,
            _ => asked.is_some_and(|asked| asked >= refused),
        };
        if let Some(refused) = refused.filter(|refused| !may(*refused)) {
            let what =
                format!("I6 {device} refused the password at {refused:?}, and {pass} of job {job} asks it again");
            cloud.truth.accuse(cloud, what);
        }
        attempts.insert(attempt, None);
    }

    /// The device was changed, or has another credential: earlier refusals do not count.
    pub fn changed(&self, device: &str) {
        let mut attempts = self.attempts.lock().unwrap();
        attempts.iter_mut().filter(|((of, ..), _)| of == device).for_each(|(_, refused)| *refused = None);
    }

    /// The device at this address refused the worker's password.
    pub fn refused(&self, cloud: &Cloud, worker: &Process, at: SocketAddr) {
        let (mut attempts, messages) = (self.attempts.lock().unwrap(), self.messages.lock().unwrap());
        let devices = cloud.truth.devices();
        let there = devices.iter().filter(|(_, known)| known.address == at);
        // Ignore a device that was moved or deleted during the worker's visit: it counts as another one.
        let leased = there.filter_map(|(id, _)| {
            let owner = cloud.tables.named(DEVICES, id)?["lease"]["owner"].as_str()?.to_owned();
            let (invocation, message) = owner.split_once(' ')?;
            let attempt = messages.get(message)?.clone();
            invocation.starts_with(&format!("{worker}@")).then_some((owner, attempt))
        });
        let leased: Vec<(String, Attempt)> = leased.collect();
        // If this worker holds two devices with this address, the password's owner is unknown.
        if leased.len() > 1 {
            return;
        }
        let fresh = leased.iter().find(|(_, attempt)| attempts.get(attempt).is_some_and(Option::is_none));
        match (fresh, leased.first()) {
            (Some((owner, attempt)), _) => {
                cloud.inject("password refused");
                attempts.insert(attempt.clone(), Some((clock::age(), owner.clone())));
            }
            (None, Some((_, attempt))) => {
                let before = &attempts[attempt];
                let what = format!("I6 {at} sees another wrong password in attempt {attempt:?} after {before:?}");
                cloud.truth.accuse(cloud, what);
            }
            (None, None) => {}
        }
    }

    /// The invocation did not finish: what it could not record may be repeated.
    pub fn lost(&self, invocation: &str) {
        let mut attempts = self.attempts.lock().unwrap();
        attempts
            .values_mut()
            .for_each(|refused| _ = refused.take_if(|(_, owner)| owner.split(' ').next() == Some(invocation)));
    }
}

fn attempt(message: &str) -> Option<Attempt> {
    let task: Value = serde_json::from_str(message).ok()?;
    let name = |field: &str| Some(task[field].as_str()?.to_owned());
    Some((name("device")?, task["job"].as_u64()?, name("leg")?, task["attempt"].as_u64()?))
}

/// Checks that the check itself finds a violation.
#[test]
fn a_second_wrong_password_in_one_attempt_is_found() {
    use crate::functions::Function;
    use crate::world::World;

    World::live(1, async |world| {
        let at = world.install(1);
        world.must("POST", "/devices", world.enrolment("bmc-1", at)).await;
        let (cloud, worker) = (&world.cloud, Process::new(Function::Worker, 1));
        let send = |attempt: u64| {
            let body = serde_json::json!({ "device": "bmc-1", "job": 7, "leg": "distribute", "attempt": attempt });
            cloud.passwords.sent(cloud, "m1", &body.to_string());
        };
        let lease = rootcast_ledger::Lease { owner: "Worker-1@5 m1".to_owned(), until: clock::now() };
        let device = "bmc-1".parse().unwrap();
        world.functions.ledger().lease(&device, &lease, None, clock::now()).await.unwrap();
        send(1);
        cloud.passwords.refused(cloud, &worker, at);
        cloud.passwords.lost("Worker-1@5");
        cloud.passwords.refused(cloud, &worker, at);
        assert_eq!(cloud.truth.broken(), Vec::<String>::new());
        cloud.passwords.refused(cloud, &worker, at);
        send(2);
        assert_eq!(cloud.truth.broken().len(), 2, "once more in the attempt, and an attempt that nobody asked for");
        cloud.passwords.acted("/jobs/7/retry");
        send(3);
        assert_eq!(cloud.truth.broken().len(), 2);
    });
}
