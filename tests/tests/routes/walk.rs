//! The requests, and the outcome that the table expects for each.

use axum::body::to_bytes;
use rootcast_core::access::permission::{DEVICES, Grants, Operation, Right, Role};
use rootcast_core::access::scope::Scopes;
use rootcast_gate::routes::{self, Function, Method, Needs, Object, Route, TABLE};
use tower::ServiceExt;

use crate::openapi::{dialect, is_published, published_members};
use crate::requests::{Scheme, request};
use crate::tables::{Caller, DEVICE, DN};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unauthenticated,
    Forbidden,
    /// As if the object did not exist.
    Unseen,
    /// The handler gets the request, whatever its result.
    Admitted,
}

use Outcome::{Admitted, Forbidden, Unauthenticated, Unseen};

/// Lists, in which each caller sees what they may read.
const LISTS: [Route; 6] =
    [routes::DEVICES, routes::SIGNED, routes::SCM_LIST, routes::SCM_DEPLOYED, routes::LIST, routes::LIST_SLASH];

fn device_dn() -> String {
    rootcast_core::inventory::dn::application_dn(&DEVICE.parse().unwrap())
}

/// Routes that the table lists as public: API Gateway authenticates the caller, which does not happen here.
pub(crate) const ELSEWHERE: [Route; 2] = [routes::OF_IAM, routes::OF_OIDC];

/// Lenovo's API or our own.
fn is_ours(route: &Route) -> bool {
    matches!(route.function, Function::Regenerate | Function::Catalog) && !route.path.starts_with("/v3/scm")
        || ["/principals", "/requests", "/rights"].iter().any(|start| route.path.starts_with(start))
        || [routes::SESSIONS, routes::END_ONES_SESSION].contains(route)
}

/// Whether the scheme is one of the route's API.
pub(crate) fn carries(route: &Route, scheme: Scheme) -> bool {
    let ends_session = *route == routes::END_SESSION;
    match scheme {
        Scheme::None => false,
        Scheme::Bearer => !ends_session,
        Scheme::AuthToken | Scheme::Signature => route.path.starts_with("/v3/scm"),
        Scheme::Basic => is_ours(route),
        // Huawei's paths take a session with its token only.
        Scheme::Session => is_ours(route) || ends_session || route.path.starts_with("/v3/scm"),
        Scheme::Cookie => is_ours(route) || ends_session,
    }
}

/// The outcome according to the table.
fn expected(route: &Route, scheme: Scheme, caller: Option<&Caller>) -> Outcome {
    if ELSEWHERE.contains(route) {
        return Unauthenticated;
    }
    if route.needs == Needs::Public {
        return Admitted;
    }
    let is_ours = is_ours(route);
    let Some(caller) = caller.filter(|_| carries(route, scheme)) else { return Unauthenticated };
    if scheme == Scheme::Cookie && route.method != Method::Get {
        return Forbidden;
    }
    let mut grants = caller.grants.clone();
    // Only a token has a scope.
    if let Some(scope) = caller.scope.filter(|_| matches!(scheme, Scheme::Bearer | Scheme::AuthToken)) {
        let scopes: Scopes = scope.parse().unwrap();
        let lacks = route.scope.is_some_and(|(resource, privilege)| !scopes.allow(resource, privilege));
        if lacks || is_ours || !matches!(route.function, Function::Retry | Function::Access) {
            return Forbidden;
        }
        grants = scopes.narrow(&grants);
    }
    let (right, operation, object) = match route.needs {
        Needs::Public | Needs::Authenticated => return Admitted,
        Needs::Right(right, object) => (right, None, object),
        Needs::Operation(operation, object) => (Right::Read, Some(operation), object),
    };
    let dn = match object {
        Object::Certificate => DN.to_owned(),
        Object::Device => device_dn(),
        Object::Roots | Object::Jobs | Object::Principals => object.dn().unwrap().to_owned(),
    };
    let may = operation.is_none_or(|operation| grants.may(operation));
    if LISTS.contains(route) {
        return Admitted;
    }
    // A missing permission is reported before the certificate is looked up.
    if (object.dn().is_none() && !may) || (right == Right::Create && !grants.allow(right, &dn)) {
        return Forbidden;
    }
    if right != Right::Create && !grants.allow(Right::Read, &dn) {
        return Unseen;
    }
    // The entries name devices.
    let names_devices = [routes::CERTIFICATE_AUDIT, routes::JOB_AUDIT].contains(route);
    if names_devices && !grants.allow(Right::Read, DEVICES) {
        return Forbidden;
    }
    match grants.allow(right, &dn) && may {
        true => Admitted,
        // Venafi has one text for every missing right.
        false if route.function == Function::Retry => Unseen,
        false => Forbidden,
    }
}

async fn answer(world: &World, route: &Route, scheme: Scheme) -> (u16, String) {
    let response = world.router(route.function).oneshot(request(route, scheme)).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn outcome(route: &Route, status: u16, body: &str) -> Outcome {
    let is_named = matches!(
        route.needs,
        Needs::Right(_, Object::Certificate | Object::Device)
            | Needs::Operation(_, Object::Certificate | Object::Device)
    );
    match status {
        401 => Unauthenticated,
        403 => Forbidden,
        404 if is_named || body.contains("There is nothing at this path.") => Unseen,
        400 if body.contains("Access error. ") => Unseen,
        _ => Admitted,
    }
}

/// Whether the refusal is in the API's own format.
fn is_refused_as_its_api_does(route: &Route, body: &str) -> bool {
    published_members(dialect(route)).iter().all(|attribute| body.contains(&format!("\"{attribute}\":")))
}

pub(crate) fn only(grant: &str) -> Grants {
    let mut grants = Grants::default();
    grants.add(grant.parse().unwrap());
    grants
}

fn callers() -> Vec<(&'static str, Caller)> {
    let mut blind = Grants::default();
    Operation::ALL.iter().for_each(|operation| blind.permit(*operation));
    let everybody: [(&str, Grants); 7] = [
        ("reader", Role::Reader.into()),
        ("operator", Role::Operator.into()),
        ("administrator", Role::Administrator.into()),
        ("one of another folder", only(r"\VED\Policy\Elsewhere=manage")),
        ("one of a folder whose name begins alike", only(r"\VED\Policy\Serv=manage")),
        ("one of this folder", only(r"\VED\POLICY\servers=manage")),
        ("one with every operation and no right", blind),
    ];
    let scopes =
        [None, Some("certificate"), Some("certificate:manage"), Some("certificate:revoke"), Some("ssh:manage")];
    let each = everybody.into_iter();
    each.flat_map(|(name, grants)| scopes.map(|scope| (name, Caller { grants: grants.clone(), scope }))).collect()
}

async fn walk(who: &str, caller: Option<&Caller>) {
    let world = World::of(caller).await;
    let mut wrong = Vec::new();
    for route in TABLE {
        for scheme in Scheme::ALL {
            let (status, body) = answer(&world, route, scheme).await;
            let step = format!(
                "{} {} as {who} by {scheme:?} with {:?}: {status} {body}",
                route.method.as_str(),
                route.path,
                caller.map(|caller| caller.scope)
            );
            let found = outcome(route, status, &body);
            let expected = expected(route, scheme, caller);
            let has_its_form = found == Admitted || is_refused_as_its_api_does(route, &body);
            if found != expected || !has_its_form || status == 405 || !is_published(route, status, &body) {
                wrong.push(format!("{step}\n  is {found:?}, and by the table {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn no_request_exceeds_the_access_in_the_table() {
    walk("nobody", None).await;
}

#[tokio::test]
async fn each_caller_has_the_access_in_the_table() {
    for (who, caller) in callers() {
        walk(who, Some(&caller)).await;
    }
}

#[tokio::test]
async fn lists_contain_what_the_caller_may_read() {
    for (who, caller) in callers().into_iter().filter(|(_, caller)| caller.scope.is_none()) {
        let world = World::of(Some(&caller)).await;
        for route in &LISTS {
            let (status, body) = answer(&world, route, Scheme::Bearer).await;
            assert_eq!(status, 200, "{who} {} {body}", route.path);
            let (dn, shown) = match route.needs {
                Needs::Right(_, Object::Device) => (device_dn(), DEVICE),
                _ => (DN.to_owned(), "web"),
            };
            // Lists the devices of each certificate, and this certificate is on no device; or what our roots signed, which
            // is not this one.
            if ![routes::SCM_DEPLOYED, routes::SIGNED].contains(route) {
                assert_eq!(body.contains(shown), caller.grants.allow(Right::Read, &dn), "{who} {} {body}", route.path);
            }
        }
    }
}
