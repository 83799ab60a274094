//! Finds the path from the leaf to a root, in whatever order the certificates were sent.
//!
//! Depth first, the likeliest issuer first; the search order does not depend on the order of the certificates. The
//! first path without a problem is taken. If there is none, the problems of the best path are reported.

use std::cmp::Reverse;
use std::collections::HashMap;

use time::OffsetDateTime;

use super::constraints::COMPARISONS;
use super::judge;
use super::node::Node;
use super::problem::Problem;
use super::signature::SignatureCheck;

/// Most issuers in one chain.
pub const DEPTH: usize = 8;

/// Most signatures verified for one chain. The longest chain needs nine if nothing is cross-signed.
pub const SIGNATURES: usize = 32;

/// Most certificates visited on all paths together: with cross-signing, there are more paths than certificates.
pub const STEPS: usize = 128;

/// The best path, and its problems.
pub(super) struct Found {
    /// Indices of nodes, the leaf first.
    pub(super) path: Vec<usize>,
    pub(super) problems: Vec<Problem>,
    /// Whether it ends in a root that was sent or in one of ours.
    anchored: bool,
}

pub(super) fn find(nodes: &[Node<'_>], leaf: usize, now: OffsetDateTime) -> Found {
    let mut search = Search {
        nodes,
        now,
        verdicts: HashMap::new(),
        steps: 0,
        comparisons: COMPARISONS,
        exhausted: false,
        best: None,
    };
    search.extend(&mut vec![leaf]);
    let exhausted = search.exhausted;
    let mut found = search.best.unwrap_or(Found { path: vec![leaf], problems: Vec::new(), anchored: false });
    if exhausted && !(found.anchored && found.problems.is_empty()) {
        found.problems.push(Problem::ChainTooLong);
    }
    found
}

struct Search<'n> {
    nodes: &'n [Node<'n>],
    now: OffsetDateTime,
    /// By the indices of the certificate and its issuer, so that nothing is verified twice.
    verdicts: HashMap<(usize, usize), SignatureCheck>,
    steps: usize,
    /// Remaining comparisons for name constraints.
    comparisons: usize,
    exhausted: bool,
    best: Option<Found>,
}

impl Search<'_> {
    /// Returns `true` if the search is over.
    fn extend(&mut self, path: &mut Vec<usize>) -> bool {
        let Some(&end) = path.last() else { return true };
        self.steps += 1;
        if self.steps > STEPS {
            self.exhausted = true;
            return true;
        }
        if path.len() > 1 && (self.nodes[end].ours || self.is_root(end)) {
            return self.conclude(path, None);
        }
        if self.exhausted {
            return true;
        }
        if path.len() > DEPTH {
            return self.conclude(path, Some(Problem::ChainTooLong));
        }
        let (mut refused, mut extended) = (None, false);
        for issuer in self.issuers(end, path) {
            let verdict = self.verdict(end, issuer);
            if self.exhausted {
                return true;
            }
            match verdict {
                SignatureCheck::Bad => _ = refused.get_or_insert(issuer),
                SignatureCheck::Good | SignatureCheck::Unsupported | SignatureCheck::Refused => {
                    extended = true;
                    path.push(issuer);
                    if self.extend(path) {
                        return true;
                    }
                    path.pop();
                }
            }
        }
        !extended && {
            let problem = self.dead_end(path, end, refused);
            self.conclude(path, Some(problem))
        }
    }

    /// Candidate issuers by name. The best fit first: by the AKI's key identifier, then by its issuer and serial number,
    /// then by validity; then the one that expires last; ties are broken by the DER.
    fn issuers(&self, end: usize, path: &[usize]) -> Vec<usize> {
        let child = &self.nodes[end];
        let mut found: Vec<usize> =
            (0..self.nodes.len()).filter(|at| !path.contains(at) && child.is_named(&self.nodes[*at])).collect();
        found.sort_by_cached_key(|at| {
            let issuer = &self.nodes[*at];
            let unfit = [
                !child.may_be_signed_by(issuer),
                !child.prefers(issuer),
                !issuer.is_valid_at(self.now),
                !issuer.is_ca(),
                !issuer.sent || !issuer.ours,
                !issuer.ours,
                !issuer.is_self_issued(),
            ];
            (unfit, Reverse(issuer.not_after), issuer.parsed.as_raw())
        });
        found
    }

    /// Whether the certificate is self-signed. A signature that cannot be verified counts too: a problem reports it.
    fn is_root(&mut self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.is_self_issued() && node.may_be_signed_by(node) && self.verdict(at, at) != SignatureCheck::Bad
    }

    fn verdict(&mut self, child: usize, issuer: usize) -> SignatureCheck {
        if let Some(known) = self.verdicts.get(&(child, issuer)) {
            return *known;
        }
        let (signed, by) = (&self.nodes[child], &self.nodes[issuer]);
        let (Ok(scheme), Ok(key)) = (&signed.scheme, &by.key) else { return SignatureCheck::Refused };
        if scheme.is_sha1() && child != issuer {
            return SignatureCheck::Refused;
        }
        if self.verdicts.len() >= SIGNATURES {
            self.exhausted = true;
            return SignatureCheck::Bad;
        }
        let (tbs, value) = (&signed.parsed.tbs_certificate, &signed.parsed.signature_value);
        // RFC 5280 §4.1.1.2: the algorithm stands in two places, and only one is signed.
        let verdict = if tbs.signature == signed.parsed.signature_algorithm && value.unused_bits == 0 {
            scheme.verify(key, tbs.as_ref(), &value.data)
        } else {
            SignatureCheck::Bad
        };
        self.verdicts.insert((child, issuer), verdict);
        verdict
    }

    /// Why the path cannot be extended.
    fn dead_end(&mut self, path: &[usize], end: usize, refused: Option<usize>) -> Problem {
        let subject = self.nodes[end].subject();
        if let Some(issuer) = refused {
            return Problem::BadSignature { subject, issuer: self.nodes[issuer].subject() };
        }
        if self.nodes[end].is_self_issued() && self.nodes[end].may_be_signed_by(&self.nodes[end]) {
            return match path {
                [_] => Problem::SelfSigned(subject),
                _ => Problem::BadSignature { issuer: subject.clone(), subject },
            };
        }
        let expected = self.nodes[end].issuer();
        match self.misnamed(end, path) {
            Some(at) => Problem::IssuerMismatch { subject, expected, issuer: self.nodes[at].subject() },
            None => Problem::ChainIncomplete { subject, issuer: expected },
        }
    }

    /// A certificate that has the issuer's key but another name. Matched by AKI and SKI, or by verifying the signature.
    fn misnamed(&mut self, end: usize, path: &[usize]) -> Option<usize> {
        let others: Vec<usize> = (0..self.nodes.len()).filter(|at| !path.contains(at)).collect();
        others.into_iter().find(|at| {
            let (child, other) = (&self.nodes[end], &self.nodes[*at]);
            match (child.authority, other.identifier) {
                (Some(named), Some(own)) => named == own,
                _ => self.verdict(end, *at) == SignatureCheck::Good,
            }
        })
    }

    /// Keeps the path if it is the best so far. Returns `true` if it has no problem.
    fn conclude(&mut self, path: &[usize], dead_end: Option<Problem>) -> bool {
        let anchored = dead_end.is_none();
        let certificates: Vec<&Node<'_>> = path.iter().map(|at| &self.nodes[*at]).collect();
        let mut problems = judge::path(&certificates, anchored, self.now, &mut self.comparisons);
        self.judge_signatures(path, anchored, &mut problems);
        problems.extend(dead_end);
        let merit = |found: &Found| match found.anchored {
            true => (0, found.problems.len()),
            false => (1, DEPTH + 1 - found.path.len().min(DEPTH + 1)),
        };
        let found = Found { path: path.to_vec(), problems, anchored };
        let clean = found.anchored && found.problems.is_empty();
        if self.best.as_ref().is_none_or(|best| merit(&found) < merit(best)) {
            self.best = Some(found);
        }
        clean
    }

    /// Checks the signature of each link, and the self-signature of a root that is not ours. A path without problems
    /// has only good signatures.
    fn judge_signatures(&mut self, path: &[usize], anchored: bool, problems: &mut Vec<Problem>) {
        let own = path.last().filter(|at| anchored && !self.nodes[**at].ours).map(|at| (*at, *at));
        let links: Vec<_> = path.windows(2).map(|link| (link[0], link[1])).chain(own).collect();
        let before = problems.len();
        for (child, issuer) in links {
            let (signed, by) = (&self.nodes[child], &self.nodes[issuer]);
            match (self.verdict(child, issuer), &signed.scheme, &by.key) {
                (SignatureCheck::Good, ..) => {}
                (SignatureCheck::Unsupported, Ok(scheme), Ok(key)) => {
                    let what = format!("{scheme} by a key for {}", key.algorithm);
                    problems.push(Problem::UnsupportedSignature { subject: signed.subject(), what });
                }
                // The problem is already reported: the issuer's key or this certificate's algorithm.
                (SignatureCheck::Refused, ..) if before > 0 || child == path[0] => {}
                // Trust in a root does not rest on its signature.
                (SignatureCheck::Refused, Err(_), Ok(_)) if child == issuer => {}
                _ => problems.push(Problem::BadSignature { subject: signed.subject(), issuer: by.subject() }),
            }
        }
    }
}
