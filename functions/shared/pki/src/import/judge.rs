//! Judges a path: each issuer by itself, each link, and the limits that issuers set for what is below them (RFC 5280
//! §6.1). Signatures are verified while the path is searched.

use time::OffsetDateTime;

use super::node::Node;
use super::problem::Problem;
use super::{constraints, purposes};

/// `path`: the leaf first; the leaf itself is checked elsewhere. `anchored`: the last certificate is a root. `budget`:
/// comparisons with name constraints.
pub(super) fn path(path: &[&Node<'_>], anchored: bool, now: OffsetDateTime, budget: &mut usize) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut intermediates = 0; // between the issuer and the leaf, without self-issued ones (RFC 5280 §4.2.1.9)
    for (at, issuer) in path.iter().enumerate().skip(1) {
        let root = anchored && at + 1 == path.len();
        issuer.problems(true, root && issuer.is_self_issued(), now, &mut problems);
        if !(root && issuer.is_bare_anchor()) {
            may_issue(issuer, &mut problems);
        }
        if !path[at - 1].may_be_signed_by(issuer) {
            let subject = path[at - 1].subject();
            problems.push(Problem::KeyIdentifier { subject, issuer: issuer.subject() });
        }
        let allowed = issuer.basic.and_then(|basic| basic.path_len_constraint);
        if let Some(allowed) = allowed.filter(|allowed| intermediates > *allowed as usize) {
            problems.push(Problem::PathLength { subject: issuer.subject(), allowed, found: intermediates });
        }
        intermediates += usize::from(!issuer.is_self_issued());
    }
    purposes::narrow(path, &mut problems);
    constraints::check(path, budget, &mut problems);
    problems
}

fn may_issue(issuer: &Node<'_>, problems: &mut Vec<Problem>) {
    let why = if !issuer.is_ca() {
        "its basicConstraints do not say cA"
    } else if issuer.usage.is_some_and(|usage| !usage.key_cert_sign()) {
        "its keyUsage does not allow keyCertSign"
    } else {
        return;
    };
    problems.push(Problem::IssuerNotCa { subject: issuer.subject(), why });
}
