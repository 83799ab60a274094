//! DynamoDB: the only crate that knows the names of tables, keys and attributes.
//!
//! Every write is conditional. Records that several functions edit (authority, roots, jobs) carry a `revision`.
//! [`Ledger::commit`] writes any set of them in one transaction, each on the condition that it is unchanged since it
//! was read. A task's record and its shard's counters change in one transaction, so that they always match.

mod access;
mod audit;
mod authority;
mod batch;
mod bindings;
mod certificates;
mod changes;
mod commit;
mod conducting;
mod consumed;
mod counters;
mod denials;
mod departures;
mod deployments;
mod devices;
mod environment;
mod error;
mod expiring;
mod fleet;
mod former;
mod heads;
mod hierarchy;
mod issuing;
mod issuing_authorities;
mod item;
mod jobs;
mod joining;
mod leases;
mod listed;
mod listing;
mod made_lists;
mod open;
mod renewals;
mod requests;
mod restore;
mod retirement;
mod retries;
mod revocation;
mod spared;
mod tasks;
mod troubled;
mod uses;

pub use access::{
    AccessKeyId, AccessKeyRecord, AsksPage, Attempted, CursorKey, Effect, Exchanged, GrantId, GrantRecord, Granted,
    IdentityRecord, LONGEST_SESSION, Locked, NotAnAccessKeyId, NotCounted, OpenAsks, Pair, PrincipalRecord,
    PrincipalsPage, Refresh, Reservation, SessionRecord, SessionsPage, TokenRecord,
};
pub use audit::AuditPage;
pub use authority::{
    Authority, BundleRecord, Claim, Compromise, IssuancePolicyRecord, LastRotation, LinkRecord, Policy, RootRecord,
    SCHEMA,
};
pub use bindings::{MOST_BINDINGS, MOST_BINDINGS_OF_DEVICE};
pub use certificates::{
    ByThumbprint, CertificateOrPending, CertificateRecord, ClientRequest, PendingCertificate, RemoveRefused,
    StoreRefused,
};
pub use changes::Outlet;
pub use commit::Change;
pub use conducting::Conducting;
pub use counters::Counters;
pub use departures::{Departure, Leave};
pub use deployments::{NewUse, RunningPage};
pub use devices::{DeviceRecord, Editor, Identity, ObservedTrustStore, Page, Unapproved};
pub use environment::{Misconfigured, Tables, variable};
pub use error::LedgerError;
pub use expiring::Expiring;
pub use fleet::{FleetEntry, FleetShard, RestoredFleet};
pub use former::{EndedRecord, FormerRecord};
pub use heads::{HeadPage, StatementPage};
pub use hierarchy::live;
pub use issuing::{SerialRecord, SignedPage, SignedPlace};
pub use issuing_authorities::{IssuingRecord, IssuingRevocation, IssuingState, LeafPass, SleepRecord, Waking};
pub use jobs::JobPage;
pub use joining::Joining;
pub use leases::{Lease, LeaseRefused, Left};
pub use listed::{Counted, Visible};
pub use listing::{CertificateRow, ListPosition, Listing, Sort};
pub use open::{BatchRecords, OpenTask};
pub use renewals::Renewal;
pub use requests::Standing;
pub use restore::Goals;
pub use retirement::{Kept, Retirement, StillValid};
pub use retries::pause;
pub use revocation::{CrlHead, CrlRecord, Revocation, RevokedRecord, SignedCrl};
pub use spared::{MOST_SPARED, Spared};
pub use tasks::{Settled, Settlement, TaskKey, TaskPage};
pub use uses::{Issuance, Proven, Reserved, UseRecord};

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use rootcast_meter::Meter;
use tokio::sync::OnceCell;

/// Access to all records, with one client.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    tables: Tables,
    /// Once it was read.
    cursor_key: Arc<OnceCell<CursorKey>>,
    /// Of this process.
    denials: Arc<Mutex<denials::Windows>>,
    /// Of this process, if it tells of them.
    changes: Option<changes::Changes>,
    meter: Meter,
    written: Arc<Mutex<consumed::Written>>,
}

impl Ledger {
    /// Adds retries to the client: see the module `retries`.
    pub fn new(client: Client, tables: Tables) -> Self {
        Self {
            client: retries::patient(&client),
            tables,
            cursor_key: Arc::default(),
            denials: Arc::default(),
            changes: None,
            meter: Meter::default(),
            written: Arc::default(),
        }
    }

    fn certificates(&self) -> Result<&str, LedgerError> {
        self.tables.certificates.as_deref().ok_or(LedgerError::Unconfigured("CERTIFICATES_TABLE"))
    }

    fn jobs(&self) -> Result<&str, LedgerError> {
        self.tables.jobs.as_deref().ok_or(LedgerError::Unconfigured("JOBS_TABLE"))
    }

    fn devices(&self) -> Result<&str, LedgerError> {
        self.tables.devices.as_deref().ok_or(LedgerError::Unconfigured("DEVICES_TABLE"))
    }

    fn access(&self) -> Result<&str, LedgerError> {
        self.tables.access.as_deref().ok_or(LedgerError::Unconfigured("ACCESS_TABLE"))
    }

    fn audits(&self) -> Result<&str, LedgerError> {
        self.tables.audit.as_deref().ok_or(LedgerError::Unconfigured("AUDIT_TABLE"))
    }

    fn statements_table(&self) -> Result<&str, LedgerError> {
        self.tables.heads.as_deref().ok_or(LedgerError::Unconfigured("HEADS_TABLE"))
    }
}
