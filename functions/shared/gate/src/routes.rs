//! The only table of routes and their requirements. Routers are built from it with [`Guarded`](crate::Guarded).

use rootcast_core::access::permission::{EVERYTHING, JOBS, Operation, PRINCIPALS as CALLERS, ROOTS, Right};
use rootcast_core::access::scope::{Privilege, Resource};
use rootcast_core::access::second::ShownBody;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::rollover::template::RolloutName;

use crate::principal::{Forbidden, OutOfScope, Principal};

/// The functions that answer requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Function {
    Regenerate,
    Catalog,
    Import,
    Retry,
    Access,
    Console,
}

/// A GET route answers HEAD too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// What a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// Certificates that the request or its answer names: the handler checks the right on each.
    Certificate,
    /// Devices, in the same way.
    Device,
    Roots,
    Jobs,
    Principals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// No authentication.
    Public,
    /// Any authenticated caller.
    Authenticated,
    /// The right on the object, and the right to read it: without that the object is treated as absent.
    Right(Right, Object),
    /// The operation, and the right to read the object.
    Operation(Operation, Object),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Its constant's.
    pub name: &'static str,
    pub function: Function,
    pub method: Method,
    /// An axum pattern, in lower case where paths are case-insensitive.
    pub path: &'static str,
    pub needs: Needs,
    /// In Venafi's API, the scope that a narrowed token needs, as documented on the vendor's page of the call.
    pub scope: Option<(Resource, Option<Privilege>)>,
}

/// Why a route does not admit a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    Unauthenticated,
    /// The object is reported as absent, since the caller may not read it.
    Unseen,
    Forbidden(Forbidden),
    OutOfScope(OutOfScope),
}

/// Defines a constant for each row, and the table of all rows. A handler needs its row's constant to get into a router.
macro_rules! table {
    ($all:ident: $($name:ident: $function:ident $method:ident $path:literal needs $needs:expr $(, scope $resource:ident $($privilege:ident)?)?;)+) => {
        $(
            pub const $name: Route = Route {
                name: stringify!($name),
                function: Function::$function,
                method: Method::$method,
                path: $path,
                needs: $needs,
                scope: table!(@scope $($resource $($privilege)?)?),
            };
        )+

        /// All rows.
        pub const $all: &[Route] = &[$($name),+];
    };
    (@scope) => { None };
    (@scope $resource:ident) => { Some((Resource::$resource, None)) };
    (@scope $resource:ident $privilege:ident) => { Some((Resource::$resource, Some(Privilege::$privilege))) };
}

use Needs::{Authenticated, Public};
use Object::{Certificate, Device, Jobs, Principals, Roots};

const READ_CERTIFICATE: Needs = Needs::Right(Right::Read, Certificate);
const WRITE_CERTIFICATE: Needs = Needs::Right(Right::Write, Certificate);
const READ_DEVICE: Needs = Needs::Right(Right::Read, Device);
const WRITE_DEVICE: Needs = Needs::Right(Right::Write, Device);
const READ_JOBS: Needs = Needs::Right(Right::Read, Jobs);
const WRITE_JOBS: Needs = Needs::Right(Right::Write, Jobs);
const READ_ROOTS: Needs = Needs::Right(Right::Read, Roots);
const CONTINUE: Needs = Needs::Operation(Operation::Activate, Jobs);
const ABORT: Needs = Needs::Operation(Operation::Abort, Jobs);
const ADMINISTER: Needs = Needs::Operation(Operation::AdministerAccess, Principals);
const REGENERATE_ROOT: Needs = Needs::Operation(Operation::Regenerate, Roots);

table! {
    TABLE:
    // `activation=immediate` and `reason=keyCompromise` need the operation `activate` as well.
    REGENERATE: Regenerate Put "/signingCertificate" needs REGENERATE_ROOT;
    REGENERATE_LOWER: Regenerate Put "/signingcertificate" needs REGENERATE_ROOT;
    ROTATE_ISSUING: Regenerate Post "/issuingAuthorities" needs REGENERATE_ROOT;
    // Needs the operation `activate` as well: it revokes every certificate that the authority signed, which is an outage
    // for clients that check, until the devices have others.
    REVOKE_ISSUING: Regenerate Post "/issuingAuthorities/{issuing}/compromise" needs REGENERATE_ROOT;

    // It signs nothing and writes to no device: whoever may steer rollovers may look before one.
    PREFLIGHT: Regenerate Post "/rollovers/preflight" needs WRITE_JOBS;
    KEEP_ROOT: Regenerate Post "/roots/{generation}/keep" needs Needs::Operation(Operation::Activate, Roots);
    // These need the operation `activate` as well: whoever puts an anchor into every trust store decides whom the whole fleet
    // believes, without a survey of the devices before it counts.
    TRUST: Regenerate Post "/trustedCertificates" needs REGENERATE_ROOT;
    TRUST_LOWER: Regenerate Post "/trustedcertificates" needs REGENERATE_ROOT;
    DISTRUST: Regenerate Delete "/trustedCertificates/{id}" needs REGENERATE_ROOT;
    DISTRUST_LOWER: Regenerate Delete "/trustedcertificates/{id}" needs REGENERATE_ROOT;

    BUNDLE: Catalog Get "/bundle" needs Public;
    CACERTS: Catalog Get "/.well-known/est/cacerts" needs Public;
    OPENAPI: Catalog Get "/openapi.json" needs Public;
    CRL: Catalog Get "/crl/{signer}/{list}" needs Public;
    ROOT: Catalog Get "/signingcertificate" needs READ_ROOTS;
    ROOT_DETAILS: Catalog Get "/signingcertificate/details" needs READ_ROOTS;
    TRUSTED_LIST: Catalog Get "/trustedcertificates" needs READ_ROOTS;
    TRUSTED_DETAILS: Catalog Get "/trustedcertificates/details" needs READ_ROOTS;
    TRUSTED: Catalog Get "/trustedcertificates/{id}" needs READ_ROOTS;
    TRUSTED_DETAIL: Catalog Get "/trustedcertificates/details/{id}" needs READ_ROOTS;
    ISSUING: Catalog Get "/issuingauthorities" needs READ_ROOTS;
    ROOT_JOBS: Catalog Get "/signingcertificate/jobs" needs READ_JOBS;
    ROOT_JOB: Catalog Get "/signingcertificate/jobs/{job}" needs READ_JOBS;
    POLICY: Catalog Get "/certificatepolicy" needs READ_ROOTS;
    CHOOSE_POLICY: Catalog Put "/certificatepolicy" needs REGENERATE_ROOT;
    ISSUANCE_POLICY: Catalog Get "/issuancepolicy" needs READ_ROOTS;
    SET_ISSUANCE_POLICY: Catalog Put "/issuancepolicy" needs REGENERATE_ROOT;
    ROLLOUTS: Catalog Get "/rollouts" needs READ_ROOTS;
    ROLLOUT: Catalog Get "/rollouts/{name}" needs READ_ROOTS;
    STORE_ROLLOUT: Catalog Put "/rollouts/{name}" needs REGENERATE_ROOT;
    DELETE_ROLLOUT: Catalog Delete "/rollouts/{name}" needs REGENERATE_ROOT;
    ABOUT: Catalog Get "/aicc" needs Authenticated;
    // The vendor's clients ask for these.
    NODES: Catalog Get "/nodes" needs Authenticated;
    CHASSIS: Catalog Get "/chassis" needs Authenticated;
    SWITCHES: Catalog Get "/switches" needs Authenticated;
    FANS: Catalog Get "/fans" needs Authenticated;
    FAN_MUXES: Catalog Get "/fanmuxes" needs Authenticated;
    POWER_SUPPLIES: Catalog Get "/powersupplies" needs Authenticated;
    CMMS: Catalog Get "/cmms" needs Authenticated;
    USERS: Catalog Get "/useraccounts" needs Authenticated;
    STORED_CREDENTIALS: Catalog Get "/storedcredentials" needs Authenticated;
    CANCEL_TASKS: Catalog Put "/tasks" needs ABORT;
    TASK_LIST: Catalog Get "/tasks" needs READ_JOBS;
    TASKS: Catalog Get "/tasks/{jobs}" needs READ_JOBS;
    DEVICES: Catalog Get "/devices" needs READ_DEVICE;
    ENROL: Catalog Post "/devices" needs Needs::Right(Right::Create, Device);
    DEVICE: Catalog Get "/devices/{device}" needs READ_DEVICE;
    EDIT_DEVICE: Catalog Patch "/devices/{device}" needs WRITE_DEVICE;
    APPROVE_DEVICE: Catalog Post "/devices/{device}/approval" needs Needs::Operation(Operation::ApproveDevice, Device);
    DELETE_DEVICE: Catalog Delete "/devices/{device}" needs Needs::Right(Right::Delete, Device);
    OWN_CERTIFICATE: Catalog Get "/devices/{device}/certificate" needs READ_DEVICE;
    RENEW_OWN: Catalog Post "/devices/{device}/certificate" needs WRITE_DEVICE;
    // Whoever chooses the key of a device's certificate can pass for the device.
    SIGN_REQUEST: Catalog Post "/devices/{device}/certificate/request" needs Needs::Operation(Operation::ApproveDevice, Device);
    PROBE: Catalog Post "/devices/{device}/probe" needs WRITE_DEVICE;
    FINGERPRINT: Catalog Get "/devices/{device}/fingerprint" needs READ_DEVICE;
    JOB_LIST: Catalog Get "/jobs" needs READ_JOBS;
    JOB: Catalog Get "/jobs/{job}" needs READ_JOBS;
    PAUSE: Catalog Post "/jobs/{job}/pause" needs WRITE_JOBS;
    RESUME: Catalog Post "/jobs/{job}/resume" needs WRITE_JOBS;
    CONTINUE_JOB: Catalog Post "/jobs/{job}/continue" needs CONTINUE;
    ROLL_BACK: Catalog Post "/jobs/{job}/rollback" needs CONTINUE;
    ABORT_JOB: Catalog Post "/jobs/{job}/abort" needs ABORT;
    RETRY_JOB: Catalog Post "/jobs/{job}/retry" needs WRITE_JOBS;
    WAIVE: Catalog Post "/jobs/{job}/waive" needs Needs::Operation(Operation::Activate, Jobs);
    ROOT_AUDIT: Catalog Get "/roots/{generation}/audit" needs READ_ROOTS;
    JOB_AUDIT: Catalog Get "/jobs/{job}/audit" needs READ_JOBS;
    DEVICE_AUDIT: Catalog Get "/devices/{device}/audit" needs READ_DEVICE;
    // The next four name the chain in the query.
    POLICY_AUDIT: Catalog Get "/audit/policies" needs READ_ROOTS;
    PRINCIPAL_AUDIT: Catalog Get "/audit/principals" needs ADMINISTER;
    DENIAL_AUDIT: Catalog Get "/audit/denials" needs ADMINISTER;
    REQUEST_AUDIT: Catalog Get "/audit/requests" needs ADMINISTER;
    // The statements name every chain: the handler asks for the right to read everything as well.
    AUDIT_HEADS: Catalog Get "/audit/heads" needs ADMINISTER;
    JOB_TASKS: Catalog Get "/jobs/{job}/tasks" needs READ_JOBS;

    // For a deleted certificate: the right to read everything.
    CERTIFICATE_AUDIT: Catalog Get "/certificates/{certificate}/audit" needs READ_CERTIFICATE;
    // What our authorities signed, whatever became of the certificate's record.
    SIGNED: Catalog Get "/certificates/signed" needs READ_CERTIFICATE;
    REVOKE_SIGNED: Catalog Post "/certificates/revocation" needs WRITE_CERTIFICATE;

    SCM_LIST: Catalog Get "/v3/scm/certificates" needs READ_CERTIFICATE;
    SCM_SHOW: Catalog Get "/v3/scm/certificates/{id}" needs READ_CERTIFICATE;
    SCM_DELETE: Catalog Delete "/v3/scm/certificates/{id}" needs Needs::Right(Right::Delete, Certificate);
    // Also needs the right to write each of the devices.
    SCM_DEPLOY: Catalog Post "/v3/scm/certificates/{id}/deploy" needs WRITE_CERTIFICATE;
    SCM_DEPLOYED: Catalog Post "/v3/scm/deployed-resources" needs READ_CERTIFICATE;
    SCM_IMPORT: Import Post "/v3/scm/certificates/import" needs Needs::Right(Right::Create, Certificate);
    SCM_EXPORT: Import Post "/v3/scm/certificates/{id}/export" needs Needs::Operation(Operation::ExportKey, Certificate);

    LIST: Retry Get "/vedsdk/certificates" needs READ_CERTIFICATE, scope Certificate;
    LIST_SLASH: Retry Get "/vedsdk/certificates/" needs READ_CERTIFICATE, scope Certificate;
    SHOW: Retry Get "/vedsdk/certificates/{guid}" needs READ_CERTIFICATE, scope Certificate;
    // The next three also need the right to write each of the devices.
    ASSOCIATE: Retry Post "/vedsdk/certificates/associate" needs WRITE_CERTIFICATE, scope Certificate Manage;
    DISSOCIATE: Retry Post "/vedsdk/certificates/dissociate" needs WRITE_CERTIFICATE, scope Certificate Manage;
    PUSH: Retry Post "/vedsdk/certificates/push" needs WRITE_CERTIFICATE, scope Certificate Manage;
    RENEW: Retry Post "/vedsdk/certificates/renew" needs WRITE_CERTIFICATE, scope Certificate Manage;
    RESET: Retry Post "/vedsdk/certificates/reset" needs WRITE_CERTIFICATE, scope Certificate Manage;
    DOWNLOAD: Retry Get "/vedsdk/certificates/retrieve" needs READ_CERTIFICATE, scope Certificate Manage;
    RETRIEVE: Retry Post "/vedsdk/certificates/retrieve" needs READ_CERTIFICATE, scope Certificate Manage;
    RETRY: Retry Post "/vedsdk/certificates/retry" needs WRITE_CERTIFICATE, scope Certificate Manage;
    REVOKE: Retry Post "/vedsdk/certificates/revoke" needs WRITE_CERTIFICATE, scope Certificate Revoke;
    // For a certificate's name only. Without the right to read it, its answer is that there is none.
    DN_TO_GUID: Retry Post "/vedsdk/config/dntoguid" needs Authenticated, scope Certificate;
    VERSION: Retry Get "/vedsdk/systemstatus/version" needs Authenticated;

    LOG_IN: Access Post "/vedauth/authorize/oauth" needs Public;
    EXCHANGE: Access Post "/vedauth/authorize/token" needs Public;
    VERIFY: Access Get "/vedauth/authorize/verify" needs Authenticated;
    LOG_OUT: Access Get "/vedauth/revoke/token" needs Authenticated;
    BEGIN_SESSION: Access Post "/sessions" needs Public;
    END_SESSION: Access Delete "/sessions" needs Authenticated;
    SESSIONS: Access Get "/sessions" needs ADMINISTER;
    END_ONES_SESSION: Access Delete "/sessions/{session}" needs ADMINISTER;
    // The caller's own.
    RIGHTS: Access Get "/rights" needs Authenticated;
    // Callers of the next two are authenticated by API Gateway.
    OF_IAM: Access Post "/sessions/iam" needs Public;
    OF_OIDC: Access Post "/sessions/oidc" needs Public;
    PRINCIPALS: Access Get "/principals" needs ADMINISTER;
    ADD_PRINCIPAL: Access Post "/principals" needs ADMINISTER;
    PRINCIPAL: Access Get "/principals/{name}" needs ADMINISTER;
    REMOVE_PRINCIPAL: Access Delete "/principals/{name}" needs ADMINISTER;
    CHANGE_PASSWORD: Access Put "/principals/{name}/password" needs ADMINISTER;
    // The operations of the request, or to have asked for it: the handler checks that.
    REQUESTS: Access Get "/requests" needs Authenticated;
    REQUEST: Access Get "/requests/{request}" needs Authenticated;
    CONFIRM: Access Post "/requests/{request}/confirm" needs Authenticated;
    REJECT: Access Post "/requests/{request}/reject" needs Authenticated;
}

// A page holds nothing of its own: whatever it shows or does, it asks of the rows above, with the session of whoever looks.
table! {
    PAGES:
    PAGE_JOBS: Console Get "/console" needs Public;
    PAGE_ASSET: Console Get "/console/assets/{file}" needs Public;
    PAGE_SIGN_IN: Console Get "/console/sign-in" needs Public;
    PAGE_BEGIN: Console Post "/console/sign-in" needs Public;
    PAGE_OIDC: Console Get "/console/oidc" needs Public;
    PAGE_OIDC_BACK: Console Get "/console/oidc/callback" needs Public;
    PAGE_END: Console Post "/console/sign-out" needs Public;
    PAGE_JOB: Console Get "/console/jobs/{job}" needs Public;
    PAGE_STEER: Console Post "/console/jobs/{job}/{command}" needs Public;
    PAGE_DEVICES: Console Get "/console/devices" needs Public;
    PAGE_DEVICE: Console Get "/console/devices/{device}" needs Public;
    PAGE_CHANGE_DEVICE: Console Post "/console/devices/{device}/{change}" needs Public;
    PAGE_ROOTS: Console Get "/console/roots" needs Public;
    PAGE_CHANGE_ROOTS: Console Post "/console/roots/{change}" needs Public;
    PAGE_COMPROMISE: Console Get "/console/roots/{generation}/compromise" needs Public;
    PAGE_CERTIFICATES: Console Get "/console/certificates" needs Public;
    PAGE_IMPORT: Console Post "/console/certificates" needs Public;
    PAGE_AUDIT: Console Get "/console/audit" needs Public;
    PAGE_ACCESS: Console Get "/console/access" needs Public;
    PAGE_END_SESSION: Console Post "/console/sessions/{session}/end" needs Public;
    PAGE_DECIDE: Console Post "/console/requests/{request}/{verdict}" needs Public;
}

/// The members of a call's body that a second person sees: none that may be a secret.
pub(crate) fn shown(route: &Route) -> &'static [&'static str] {
    match *route {
        // A confirmed rotation stands for the second person of every rollover that it begins.
        CHOOSE_POLICY => &["specName", "rotation", "rollout"],
        STORE_ROLLOUT => &[
            "canary",
            "growth",
            "largestWave",
            "wavePause",
            "errorBudget",
            "errorBudgetMinimum",
            "proofAge",
            "holdDown",
            "sample",
            "until",
            "windows",
            "order",
        ],
        TRUST | TRUST_LOWER => &["certificate"],
        SET_ISSUANCE_POLICY => &["revision", "rules"],
        CANCEL_TASKS => &["action", "list"],
        EDIT_DEVICE => &["name", "address", "profile", "credential", "pins", "slot", "subject", "labels"],
        APPROVE_DEVICE => &["incarnation", "endpointRevision", "pins"],
        SIGN_REQUEST => &["request"],
        WAIVE => &["devices", "certificates", "reason"],
        ADD_PRINCIPAL => &["name", "person", "identities", "role", "grants", "permissions"],
        _ => &[],
    }
}

impl Denied {
    /// What the caller lacks; `None` if nobody knows the caller.
    pub(crate) fn missing(&self) -> Option<String> {
        match self {
            // What waits for a second person is no denial.
            Self::Unauthenticated | Self::Forbidden(Forbidden::SecondPerson(_)) => None,
            Self::Unseen => Some("the right to see it".to_owned()),
            Self::Forbidden(Forbidden::Operation(operation)) => Some(format!("permission {operation}")),
            Self::Forbidden(Forbidden::Right { right, dn }) => Some(format!("right {right} on {dn}")),
            Self::OutOfScope(scope) => Some(scope.to_string()),
        }
    }

    /// The refusal, or `unseen()` if the object is reported as absent.
    pub fn or<E: From<Self>>(self, unseen: impl FnOnce() -> E) -> E {
        if self == Self::Unseen { unseen() } else { self.into() }
    }
}

impl Object {
    /// The distinguished name that all objects of this kind share, if they share one.
    pub const fn dn(self) -> Option<&'static str> {
        match self {
            Self::Roots => Some(ROOTS),
            Self::Jobs => Some(JOBS),
            Self::Principals => Some(CALLERS),
            Self::Certificate | Self::Device => None,
        }
    }
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl Route {
    /// The operation that the handler asks for as well, perhaps because of the query, so that one confirmation is for both. Nothing
    /// depends on it: what is not foreseen here is asked for by itself.
    pub(crate) fn further(&self, query: Option<&str>) -> Option<Operation> {
        let mut said = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let makes_root = matches!(*self, REGENERATE | REGENERATE_LOWER);
        let is_at_once = |name: &str, value: &str| {
            matches!((name, value), ("activation", "immediate") | ("reason", "keyCompromise"))
        };
        let at_once = makes_root && said.any(|(name, value)| is_at_once(&name, &value));
        let anchors = matches!(*self, TRUST | TRUST_LOWER | DISTRUST | DISTRUST_LOWER);
        (at_once || anchors || *self == REVOKE_ISSUING).then_some(Operation::Activate)
    }

    /// The stored rollout that a call names in its query, or in what is shown of its body.
    pub(crate) fn rollout(&self, query: Option<&str>, body: &ShownBody) -> Option<RolloutName> {
        let name = if *self == CHOOSE_POLICY {
            let members: serde_json::Value = serde_json::from_str(body.members.as_deref()?).ok()?;
            members["rollout"].as_str()?.to_owned()
        } else if self.goes_on() {
            let mut said = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
            said.find(|(name, _)| name == "rollout")?.1.into_owned()
        } else {
            return None;
        };
        name.parse().ok()
    }

    /// Whether the same call, sent again after an internal error, goes on with what it began instead of doing it twice: a
    /// root's claim stays open until the root is complete, and a trusted certificate is neither added nor removed twice.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(*self, REGENERATE | REGENERATE_LOWER | TRUST | TRUST_LOWER | DISTRUST | DISTRUST_LOWER)
    }

    /// The distinguished name of what a call is about, for whoever decides on it. Where only an id is known, or the body
    /// names the objects, that is everything.
    pub(crate) fn about(&self, path: &str) -> String {
        let device = || path.strip_prefix("/devices/")?.split('/').next()?.parse().ok();
        match self.needs {
            _ if *self == WAIVE => EVERYTHING.to_owned(),
            Needs::Right(_, object) | Needs::Operation(_, object) => match (object.dn(), device()) {
                (Some(dn), _) => dn.to_owned(),
                (None, Some(device)) if object == Device => application_dn(&device),
                _ => EVERYTHING.to_owned(),
            },
            Public | Authenticated => EVERYTHING.to_owned(),
        }
    }

    /// Makes every check that does not depend on the objects named in the request.
    pub fn admits(&self, caller: Option<&Principal>) -> Result<(), Denied> {
        if self.needs == Public {
            return Ok(());
        }
        let caller = caller.ok_or(Denied::Unauthenticated)?;
        if let Some((resource, privilege)) = self.scope {
            caller.require_scope(resource, privilege).map_err(Denied::OutOfScope)?;
        }
        let require = |right, object: Object| object.dn().map_or(Ok(()), |dn| caller.require(right, dn));
        match self.needs {
            Public | Authenticated => Ok(()),
            Needs::Right(right, object) => require(right, object),
            Needs::Operation(operation, object) => {
                require(Right::Read, object)?;
                caller.may(operation).map_err(Denied::Forbidden)
            }
        }
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
