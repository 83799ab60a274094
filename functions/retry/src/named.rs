//! The certificate that a call names, and the error if there is none.

use rootcast_core::access::permission::Right;
use rootcast_core::inventory::dn::{CertificateDn, NotACertificateDn};
use rootcast_core::inventory::id::CertificateId;
use rootcast_dialects::venafi::{Documented, VenafiError};
use rootcast_gate::{Kind, Principal};
use rootcast_ledger::CertificateOrPending;
use rootcast_operations::{NotBegun, NotDone};

use crate::App;

/// A call of Venafi's that concerns one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// The path after `Certificates/`.
    pub(crate) name: &'static str,
    /// The right that the call needs on the certificate, besides reading it.
    pub(crate) needs: Right,
}

/// A certificate or a pending one, and the name that the caller used.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) dn: String,
    pub(crate) id: CertificateId,
}

impl Call {
    pub(crate) const fn reading(name: &'static str) -> Self {
        Self { name, needs: Right::Read }
    }

    pub(crate) const fn writing(name: &'static str) -> Self {
        Self { name, needs: Right::Write }
    }

    /// The certificate does not exist, is hidden from the caller, or is read-only: one answer for all three, so that it
    /// reveals nothing.
    pub(crate) fn no_access(self, named: impl Into<String>) -> Documented {
        Documented::NoAccess { call: self.name, needs: self.needs, named: named.into() }
    }

    /// Whether the caller may make this call on the certificate of that name.
    pub(crate) fn is_of(self, caller: &Principal, dn: &str) -> bool {
        caller.require(self.needs, dn).is_ok()
    }

    /// Parses the name, and checks that the caller may make this call there.
    pub(crate) fn place(self, caller: &Principal, dn: &str) -> Result<CertificateDn, Documented> {
        let place: CertificateDn = dn.parse().map_err(|why| match why {
            NotACertificateDn::NullOrWhiteSpace => Documented::InvalidDn(dn.to_owned()),
            NotACertificateDn::Unused => self.no_access(dn),
        })?;
        if self.is_of(caller, &place.to_string()) { Ok(place) } else { Err(self.no_access(dn)) }
    }

    /// The error for a job that was not begun.
    pub(crate) fn not_begun(self, named: &Named, why: NotDone<NotBegun>) -> VenafiError {
        match why {
            NotDone::Refused(NotBegun::NoCertificate) => self.no_access(&named.dn).into(),
            NotDone::Ledger(error) => error.into(),
            NotDone::Refused(NotBegun::NoRandom(_)) => {
                VenafiError::new(Kind::Internal, "Something is wrong here: send the request again.").caused_by(why)
            }
            refused => VenafiError::invalid(refused.to_string()),
        }
    }
}

impl App {
    /// Two calls at most: name, record.
    pub(crate) async fn held(
        &self,
        call: Call,
        caller: &Principal,
        dn: Option<String>,
    ) -> Result<(Named, CertificateOrPending), VenafiError> {
        let named = self.named(call, caller, dn).await?;
        let held = self.ledger.certificate_or_pending(named.id).await?;
        let held = held.ok_or_else(|| call.no_access(&named.dn))?;
        Ok((named, held))
    }

    pub(crate) async fn named(&self, call: Call, caller: &Principal, dn: Option<String>) -> Result<Named, VenafiError> {
        let dn = dn.unwrap_or_default();
        let found = self.ledger.certificate_by_dn(&call.place(caller, &dn)?).await?;
        match found {
            Some(id) => Ok(Named { dn, id }),
            None => Err(call.no_access(dn).into()),
        }
    }
}
