//! A world's state, to return to: what the tables, keys, devices and the invariants' own records hold, and the time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock;
use crate::dynamo::Rows;
use crate::keys::State;
use crate::openbmc::Bmc;
use crate::passwords::Passwords;
use crate::truth::Truth;
use crate::world::World;

pub struct Snapshot {
    rows: Rows,
    keys: Vec<(String, State)>,
    fleet: BTreeMap<SocketAddr, Bmc>,
    truth: Truth,
    passwords: Passwords,
    age: Duration,
}

impl World {
    /// Whether nothing is under way: no message waits, and no function runs.
    pub fn is_at_rest(&self) -> bool {
        let waiting = |name: &&str| !self.cloud.queues.left(name).0.is_empty();
        !["control", "task", "issue"].iter().any(waiting) && self.functions.is_idle()
    }

    /// The present state.
    pub fn snapshot(&self) -> Snapshot {
        assert!(self.is_at_rest());
        let (truth, passwords) = (Truth::default(), Passwords::default());
        truth.become_like(&self.cloud.truth);
        passwords.become_like(&self.cloud.passwords);
        Snapshot {
            rows: self.cloud.tables.rows(),
            keys: self.cloud.keys.states(),
            fleet: self.cloud.fleet.copy(),
            truth,
            passwords,
            age: clock::age(),
        }
    }

    /// Returns to an earlier state of this world. Sandboxes begin cold: they know nothing of the time between.
    pub fn restore(&self, Snapshot { rows, keys, fleet, truth, passwords, age }: &Snapshot) {
        assert!(self.is_at_rest());
        self.functions.cool();
        self.cloud.tables.restore(rows);
        self.cloud.keys.restore(keys);
        self.cloud.fleet.restore(fleet);
        self.cloud.truth.become_like(truth);
        self.cloud.passwords.become_like(passwords);
        clock::restore(*age);
    }
}
