//! The Redfish driver against a fake management controller, over real TLS on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests fail by panicking")]

mod absence;
mod check;
mod clock;
mod failures;
mod hostile;
mod install;
mod managers;
mod pinning;
mod places;
mod probe;
mod profiles;
mod redirects;
mod request;
mod sessions;
mod tasks;
mod vendors;

use std::sync::Arc;
use std::time::Duration;

use rootcast_core::device::{Profile, Slot};
use rootcast_core::job::task::Failure;
use rootcast_drivers::{
    Assignment, Converged, Credential, Ended, Endpoint, Enquiry, Monitor, Progress, Redfish, TrustGoal,
};
use rootcast_fake as fake;
use rootcast_fake::{Fake, PASSWORD, USER};
use rootcast_pki::fingerprint::Fingerprint;
use tokio::time::Instant;

/// The parameters of an attempt that a test sets; the others have defaults.
struct Attempt<'a> {
    fake: &'a Fake,
    profile: Profile,
    slot: Option<&'a str>,
    password: &'a str,
    goal: TrustGoal,
    earlier: Option<&'a Ended>,
    limit: Duration,
}

impl<'a> Attempt<'a> {
    fn new(fake: &'a Fake, profile: Profile, goal: TrustGoal) -> Self {
        let limit = Duration::from_secs(60);
        Self { fake, profile, slot: None, password: PASSWORD, goal, earlier: None, limit }
    }

    async fn run(&self) -> Result<Progress, Failure> {
        self.run_at(&Endpoint { address: self.fake.address.clone(), pins: vec![self.fake.pin] }).await
    }

    async fn run_at(&self, endpoint: &Endpoint) -> Result<Progress, Failure> {
        let policy = Arc::new("127.0.0.1".parse().unwrap());
        let parameter = serde_json::json!({"username": USER, "password": self.password}).to_string();
        let credential: Credential = parameter.parse().unwrap();
        let slot = self.slot.map(|slot| slot.parse::<Slot>().unwrap());
        let assignment = Assignment {
            endpoint,
            profile: self.profile,
            slot: slot.as_ref(),
            credential: &credential,
            goal: &self.goal,
            earlier: self.earlier,
            deadline: Instant::now() + self.limit,
        };
        Redfish::new(policy).converge(&assignment).await
    }

    async fn done(&self) -> Converged {
        match self.run().await {
            Ok(Progress::Done(converged)) => converged,
            other => panic!("not done: {other:?}"),
        }
    }

    /// After every failure, no session is left open.
    async fn fails(&self) -> Failure {
        let failure = self.run().await.expect_err("a failure");
        assert_eq!(self.fake.open_sessions(), 0, "a session stayed after {failure:?}");
        failure
    }
}

/// Queries the monitor of an asynchronous operation.
async fn ask(fake: &Fake, profile: Profile, monitor: &Monitor) -> Result<Progress<Ended>, Failure> {
    let credential: Credential =
        serde_json::json!({"username": USER, "password": PASSWORD}).to_string().parse().unwrap();
    let enquiry = Enquiry {
        endpoint: &Endpoint { address: fake.address.clone(), pins: vec![fake.pin] },
        profile,
        credential: &credential,
        monitor,
        deadline: Instant::now() + Duration::from_secs(20),
    };
    let outcome = Redfish::new(Arc::new("127.0.0.1".parse().unwrap())).ask(&enquiry).await;
    assert_eq!(fake.open_sessions(), 0, "a session stayed after {outcome:?}");
    outcome
}

async fn ended(fake: &Fake, monitor: &Monitor) -> Ended {
    match ask(fake, Profile::Openbmc, monitor).await {
        Ok(Progress::Done(ended)) => ended,
        other => panic!("not ended: {other:?}"),
    }
}

fn install(ders: &[&[u8]]) -> TrustGoal {
    TrustGoal { install: ders.iter().map(|der| der.to_vec()).collect(), ..TrustGoal::default() }
}

fn remove(ders: &[&[u8]]) -> TrustGoal {
    TrustGoal { remove: prints(ders), ..TrustGoal::default() }
}

fn prints(ders: &[&[u8]]) -> Vec<Fingerprint> {
    ders.iter().map(|der| Fingerprint::of(der)).collect()
}

fn sorted(mut prints: Vec<Fingerprint>) -> Vec<Fingerprint> {
    prints.sort_unstable();
    prints
}
