//! Our own API's JSON: the functions write it, and the operator's command reads it. It is sent in Lenovo's
//! [envelope](crate::lenovo::Envelope). Times are RFC 3339 in UTC, to the second.
//!
//! What an answer may lack has a default here.

mod audit;
mod certificate;
mod device;
mod job;
mod preflight;
mod task;

pub use audit::{AuditChain, AuditHeads};
pub use certificate::{
    CompromisedRoot, Issued, Issuing, IssuingAuthority, OwnCertificate, Revocation, RevokedIssuing, Root, Signed,
    SignedState, Trusted,
};
pub use device::{
    Device, Enrolled, Enrolment, Fingerprint, Held, LastFailure, LeasedUntil, Probe, ProbeBegun, Standing, Unapproved,
};
pub use job::{
    CertificateWaiver, Counts, Deployment, Hold, InUse, Job, Left, Proofs, Rollover, Summary, Used, WaiverOutcome,
    WaiverResult, WaiverResults, Wave, Work,
};
pub use preflight::{Changed, Estimate, Findings, Part, Preflight, Ready, Report};
pub use task::{Past, Task, TaskFinding, Visits};
