//! What the reader may do, by the same table of routes as the API: a page offers nothing else. Whether a form is carried out, the
//! API decides.

use rootcast_core::access::permission::{Grant, Grants, Operation, Right};
use rootcast_gate::Principal;
use rootcast_gate::routes::{self, Needs, Object, Route};
use serde::Deserialize;

use crate::api::Api;

pub(crate) struct Rights(
    /// `None`: it is not known, and everything is offered.
    Option<Principal>,
);

#[derive(Deserialize)]
struct Told {
    principal: String,
    grants: Vec<Grant>,
    permissions: Vec<Operation>,
}

impl Api<'_> {
    pub(crate) async fn rights(&self) -> Rights {
        let told = self.get(routes::RIGHTS, &[], "").await.and_then(|told| told.told::<Told>());
        Rights(told.ok().map(Principal::from))
    }
}

impl From<Told> for Principal {
    fn from(told: Told) -> Self {
        let mut grants = Grants::default();
        told.grants.into_iter().for_each(|grant| grants.add(grant));
        told.permissions.into_iter().for_each(|operation| grants.permit(operation));
        // A second person may confirm it.
        Self { alone: Operation::ALL.iter().copied().collect(), ..Self::unknown(told.principal, grants) }
    }
}

impl Rights {
    /// Of a route about roots, jobs or principals; of another, without the right on its object.
    pub(crate) fn may(&self, route: Route) -> bool {
        self.0.as_ref().is_none_or(|reader| route.admits(Some(reader)).is_ok())
    }

    /// Of a route about a device or certificate.
    pub(crate) fn may_on(&self, route: Route, dn: &str) -> bool {
        let is_granted = |reader: &Principal| match route.needs {
            Needs::Right(right, Object::Device | Object::Certificate) => reader.require(right, dn).is_ok(),
            Needs::Operation(_, Object::Device | Object::Certificate) => reader.sees(dn),
            _ => true,
        };
        self.may(route) && self.0.as_ref().is_none_or(is_granted)
    }

    pub(crate) fn may_also(&self, operation: Operation) -> bool {
        self.0.as_ref().is_none_or(|reader| reader.grants.may(operation))
    }

    /// Whether there is a folder for a new certificate.
    pub(crate) fn may_import(&self) -> bool {
        let creates = |grant: Grant| [Right::Create, Right::Manage].iter().any(|right| grant.rights.contains(right));
        self.0.as_ref().is_none_or(|reader| reader.grants.grants().any(creates))
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|reader| reader.name == name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use serde_json::json;

    use super::*;

    fn rights(grant: &str, permissions: &[&str]) -> Rights {
        let told = json!({ "principal": "ops", "grants": [grant], "permissions": permissions });
        Rights(Some(serde_json::from_value::<Told>(told).unwrap().into()))
    }

    #[test]
    fn what_a_reader_may_not_do_is_not_offered() {
        let reader = rights(r"\VED\Policy=read", &[]);
        let operator = rights(r"\VED\Policy=read,write,create,delete", &[]);
        let may_abort = rights(r"\VED\Policy=read", &["abort"]);
        for (route, expected) in [
            (routes::PAUSE, (false, true, false)),
            (routes::ABORT_JOB, (false, false, true)),
            (routes::REGENERATE, (false, false, false)),
            (routes::JOB, (true, true, true)),
        ] {
            assert_eq!((reader.may(route), operator.may(route), may_abort.may(route)), expected, "{}", route.name);
        }
        assert_eq!((reader.may_import(), operator.may_import()), (false, true));
        assert!(!rights(r"\VED\Policy\Devices=read", &["abort"]).may(routes::ABORT_JOB), "the job is not seen");
    }

    #[test]
    fn rights_on_a_device_are_of_that_device() {
        let of_one = rights(r"\VED\Policy\Devices\bmc-1=read,write", &["approve-device"]);
        let dn = |id: &str| format!(r"\VED\Policy\Devices\{id}");
        for route in [routes::PROBE, routes::APPROVE_DEVICE] {
            assert!(of_one.may_on(route, &dn("bmc-1")) && !of_one.may_on(route, &dn("bmc-2")), "{}", route.name);
        }
    }

    #[test]
    fn everything_is_offered_to_who_is_not_known() {
        let unknown = Rights(None);
        assert!(unknown.may(routes::REGENERATE) && unknown.may_import() && unknown.may_also(Operation::Activate));
        assert!(!unknown.is("ops"));
    }
}
