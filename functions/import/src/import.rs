//! Import: parse, check, seal, store, send the event.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use rootcast_core::access::permission::Right;
use rootcast_core::audit::{Act, Action, Actor, Subject};
use rootcast_core::event::Event;
use rootcast_core::inventory::id::{CertificateId, policy_dn};
use rootcast_core::inventory::sealed::SealContext;
use rootcast_dialects::huawei::import::{ImportRequest, client_request};
use rootcast_dialects::huawei::{HuaweiError, checks_failed, issuer_revoked, not_stored, root_distrusted};
use rootcast_gate::{Principal, RequestId, media_type};
use rootcast_ledger::{CertificateRecord, ClientRequest, StoreRefused};
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_pki::import::{Checked, Problem};
use serde::Serialize;
use time::OffsetDateTime;
use tracing::{info, warn};
use zeroize::Zeroize;

use crate::roots::Refused;
use crate::{App, random};

/// Attempts to draw a free id. There are 10^13 ids, so a second attempt is practically never needed.
const IDS: usize = 4;

#[derive(Debug, Serialize)]
pub(crate) struct Imported {
    certificate_id: CertificateId,
    /// Our own attribute: what was left out, or may be left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Our own: what the certificate can be used for. Absent if the same request imported it before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    purposes: Vec<&'static str>,
}

/// Two calls if all checks pass and the chain does not end at one of our roots: GenerateDataKey and TransactWriteItems. A
/// client token adds a GetItem before them, and PutEvents follows. Calls of the gate are not counted.
pub(crate) async fn import(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Imported>, HuaweiError> {
    media_type(&headers, &["application/json"])?;
    let parsed = ImportRequest::parse(&body);
    let repeatable = client_request(&headers, &caller, &body);
    wipe(body);
    Ok(Json(app.import(&caller, &caller.acting(&id), parsed?, repeatable?).await?))
}

/// Overwrites the body if nothing else holds a reference to it.
fn wipe(body: Bytes) {
    if let Ok(mut bytes) = body.try_into_mut() {
        bytes.as_mut().zeroize();
    }
}

impl App {
    async fn import(
        &self,
        caller: &Principal,
        by: &Actor,
        request: ImportRequest,
        repeatable: Option<ClientRequest>,
    ) -> Result<Imported, HuaweiError> {
        let now = (self.clock)();
        let dn = policy_dn(&request.folder.to_string(), &request.name.to_string());
        caller.require(Right::Create, &dn)?;
        let refused = |why| not_stored(why, &dn);
        if let Some(repeatable) = &repeatable
            && let Some(certificate_id) = self.ledger.stored_before(repeatable, now).await.map_err(refused)?
        {
            info!(caller = caller.name, certificate.id = %certificate_id, "imported before by the same request");
            return Ok(Imported { certificate_id, warnings: Vec::new(), purposes: Vec::new() });
        }
        let checked = match self.roots.check(&request.material(), request.allow_incomplete, now).await? {
            Ok(checked) => checked,
            Err(Refused::IssuerRevoked(issuer)) => {
                info!(caller = caller.name, certificate.dn = dn, issuer, "import refused: its issuer is revoked");
                return Err(issuer_revoked(&issuer));
            }
            Err(Refused::RootDistrusted(root)) => {
                info!(caller = caller.name, certificate.dn = dn, root, "import refused: its root has left the devices");
                return Err(root_distrusted(&root));
            }
            Err(Refused::Checks(problems)) => {
                let codes: Vec<&str> = problems.iter().map(Problem::code).collect();
                info!(caller = caller.name, certificate.dn = dn, problems = codes.join(" "), "import refused");
                return Err(checks_failed(&problems));
            }
        };
        let warnings: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
        let purposes = checked.purposes.names();
        for warning in &warnings {
            warn!(caller = caller.name, certificate.dn = dn, "{warning}");
        }
        for _ in 0..IDS {
            let id = CertificateId::from_random(random()?);
            let record = self.record(id, &request, &checked, caller, now).await?;
            let act = Act::new(Subject::Certificate(id), Action::Import, by, now);
            let act = act.with("dn", &dn).with("leaf", record.leaf.fingerprint());
            match self.ledger.store_certificate(&record, request.only_once, repeatable.as_ref(), &act).await {
                Err(StoreRefused::IdTaken) => {}
                Err(why) => return Err(refused(why)),
                Ok(stored) if stored == id => {
                    info!(caller = caller.name, certificate.id = %id, certificate.dn = dn, "imported");
                    self.tell(record, dn.clone()).await;
                    return Ok(Imported { certificate_id: id, warnings, purposes });
                }
                // A concurrent repetition of the same request was first.
                Ok(certificate_id) => return Ok(Imported { certificate_id, warnings, purposes }),
            }
        }
        Err(refused(StoreRefused::IdTaken))
    }

    async fn record(
        &self,
        id: CertificateId,
        request: &ImportRequest,
        checked: &Checked,
        caller: &Principal,
        now: OffsetDateTime,
    ) -> Result<CertificateRecord, HuaweiError> {
        let spki = Fingerprint::of(checked.leaf.spki_der());
        let context = SealContext::PrivateKey { certificate: id, spki };
        let key = self.sealer.seal(&context, checked.key.pkcs8_der()).await?;
        Ok(CertificateRecord {
            id,
            shard: id.shard(),
            revision: 1,
            folder: request.folder.to_string(),
            name: request.name.to_string(),
            leaf: checked.leaf.clone(),
            chain: checked.chain.clone(),
            issuing: None,
            unproven: checked.unproven,
            key: Some(key),
            device: None,
            spki,
            key_algorithm: checked.key_algorithm.to_string(),
            signature_algorithm: checked.leaf.signature_algorithm_name().to_owned(),
            common_name: checked.common_name.clone(),
            names: checked.names.clone(),
            not_before: checked.leaf.not_before(),
            not_after: checked.leaf.not_after(),
            enterprise_project_id: request.enterprise_project.as_ref().map(ToString::to_string),
            uses: 0,
            noticed: None,
            renew_at: None,
            shown_until: None,
            revoked: None,
            imported_by: caller.name.clone(),
            created: now,
            updated: now,
        })
    }

    /// A lost event does not fail the import.
    async fn tell(&self, record: CertificateRecord, dn: String) {
        let imported = Event::Imported {
            certificate_id: record.id,
            dn,
            not_after: record.not_after,
            imported_by: record.imported_by,
        };
        self.events.publish(&[imported]).await;
    }
}
