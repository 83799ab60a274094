#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use std::collections::HashSet;

use rootcast_core::access::permission::{Grants, Role};
use rootcast_core::access::second::ShownBody;

use super::*;

fn caller(grants: impl Into<Grants>, scopes: Option<&str>) -> Principal {
    let alone = Operation::ALL.iter().copied().collect();
    let scopes = scopes.map(|text| text.parse().unwrap());
    Principal { scopes, alone, ..Principal::unknown("ops", grants.into()) }
}

fn of(route: Route, grants: impl Into<Grants>) -> Result<(), Denied> {
    route.admits(Some(&caller(grants, None)))
}

#[test]
fn rows_are_unique_and_only_venafi_rows_have_scopes() {
    let all = || TABLE.iter().chain(PAGES);
    let rows: HashSet<_> = all().map(|row| (row.function, row.method, row.path)).collect();
    assert_eq!(rows.len(), all().count());
    for row in TABLE {
        let has_scope = row.path.starts_with("/vedsdk") && *row != VERSION;
        assert_eq!(row.scope.is_some(), has_scope, "{}", row.path);
    }
}

#[test]
fn pages_are_all_under_their_own_path() {
    for row in PAGES {
        let is_under = row.path == "/console" || row.path.starts_with("/console/");
        assert!(is_under && row.function == Function::Console && row.needs == Public, "{}", row.path);
    }
}

#[test]
fn whoever_confirms_a_policy_sees_all_of_it() {
    let body = br#"{"specName":"CNSA","rotation":{"on":"2027-06-01"},"rollout":"weekend"}"#;
    let seen = ShownBody::of(body, shown(&CHOOSE_POLICY));
    let members = seen.members.unwrap();
    assert!(seen.left_out.is_empty() && members.contains("2027-06-01") && members.contains("weekend"), "{members}");
}

#[test]
fn only_public_routes_admit_an_unauthenticated_caller() {
    for row in TABLE {
        let admitted = row.admits(None);
        assert_eq!(admitted, if row.needs == Public { Ok(()) } else { Err(Denied::Unauthenticated) }, "{}", row.path);
    }
}

#[test]
fn an_operator_is_admitted_where_no_operation_is_needed() {
    for row in TABLE {
        assert_eq!(of(*row, Role::Administrator), Ok(()), "{}", row.path);
        let expected = match row.needs {
            Needs::Operation(operation, _) => Err(Denied::Forbidden(Forbidden::Operation(operation))),
            _ => Ok(()),
        };
        assert_eq!(of(*row, Role::Operator), expected, "{}", row.path);
    }
}

#[test]
fn unreadable_objects_are_absent_and_unwritable_ones_forbidden() {
    for row in [ROOT, POLICY, REGENERATE, JOB, PAUSE, ABORT_JOB, WAIVE] {
        let mut blind = Grants::default();
        Operation::ALL.iter().for_each(|operation| blind.permit(*operation));
        assert_eq!(of(row, blind), Err(Denied::Unseen), "{}", row.path);
    }
    let lacks = Forbidden::Right { right: Right::Write, dn: JOBS.to_owned() };
    assert_eq!(of(PAUSE, Role::Reader), Err(Denied::Forbidden(lacks)));
    assert_eq!(of(ABORT_JOB, Role::Reader), Err(Denied::Forbidden(Forbidden::Operation(Operation::Abort))));
}

#[test]
fn a_narrowed_token_needs_the_scope_of_the_row() {
    let needed = [(RETRY, "certificate:manage"), (REVOKE, "certificate:revoke"), (SHOW, "certificate")];
    for (row, scope) in needed {
        assert_eq!(row.admits(Some(&caller(Role::Administrator, Some(scope)))), Ok(()));
        let other = row.admits(Some(&caller(Role::Administrator, Some("ssh:manage"))));
        assert!(matches!(other, Err(Denied::OutOfScope(_))), "{}", row.path);
    }
    assert_eq!(VERSION.admits(Some(&caller(Role::Reader, Some("ssh")))), Ok(()));
}
