//! Invariants of the records and keys whenever no request and no job is under way.

use aws_sdk_kms::types::KeyState;
use rootcast_core::job::Job;
use rootcast_core::rollover::generation::GenerationState;
use rootcast_ledger::{Authority, RootRecord};
use rootcast_pki::bundle::verify_jws;
use rootcast_pki::fingerprint::Fingerprint;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::readers;
use super::regenerator::{Regenerator, seconds_ago};

/// Checks a certificate authority with this number of generations, of which the last one is active.
pub(super) async fn assert_whole(regenerator: &Regenerator, generations: u32, jobs: usize) {
    let authority = regenerator.ledger.authority().await.unwrap();
    assert_eq!(authority.claim, None);
    assert_eq!(authority.running, None);
    assert_eq!(authority.last_generation, generations);
    let roots = regenerator.ledger.roots(&authority).await.unwrap();
    assert_eq!(roots.iter().map(|root| root.generation).collect::<Vec<_>>(), (1..=generations).collect::<Vec<_>>());
    assert_one_signs(&authority, &roots);
    for (index, root) in roots.iter().enumerate() {
        assert_root(regenerator, root).await;
        assert_links(index.checked_sub(1).map(|before| &roots[before]), root);
    }
    assert_bundles(regenerator, &authority, &roots).await;
    let listed = regenerator.ledger.jobs_before(None, 100).await.unwrap().jobs;
    assert_eq!(listed.len(), jobs, "{listed:?}");
    // As the conductor does each minute, for what a crash left.
    for generation in &authority.unswept {
        regenerator.authority().sweep_keys(*generation, seconds_ago::<0>()).await.unwrap();
    }
    assert_keys(regenerator, &roots).await;
}

/// The job has this root, published it, and waits for the conductor.
pub(super) fn assert_job_of(job: &Job, root: &RootRecord) {
    assert_eq!(job.generation, root.generation);
    assert!(job.bundle_version > 0, "{job:?}");
    assert_eq!(root.state, GenerationState::Published);
    assert!(root.certificate.is_some());
}

fn assert_one_signs(authority: &Authority, roots: &[RootRecord]) {
    let last = roots.last().unwrap();
    assert_eq!(authority.signing, Some(last.generation));
    for root in roots {
        let expected =
            if root.generation == last.generation { GenerationState::Signing } else { GenerationState::Superseded };
        assert_eq!(root.state, expected, "generation {}", root.generation);
    }
}

/// The certificate matches its reservation and the recorded key, and verifies.
async fn assert_root(regenerator: &Regenerator, root: &RootRecord) {
    let (key, certificate) = root.key_and_certificate().unwrap();
    assert_eq!(root.tbs, Some(tbs_sha256(certificate.der())), "generation {}", root.generation);
    assert_eq!(certificate.serial(), root.spec.serial.to_string());
    assert!(certificate.subject_dn().contains(&format!(" G{}", root.generation)), "{}", certificate.subject_dn());
    assert_eq!(certificate.spki_der(), regenerator.public_key(key).await);
    readers::verify(&[certificate], certificate, &[]).unwrap();
}

/// The links match their reservations, and lead from one root to the other.
fn assert_links(old: Option<&RootRecord>, new: &RootRecord) {
    let Some(old) = old else {
        assert!(new.new_with_old.is_none() && new.old_with_new.is_none());
        return;
    };
    let (old, root) = (old.certificate.as_ref().unwrap(), new.certificate.as_ref().unwrap());
    for (link, issuer) in [(&new.new_with_old, old), (&new.old_with_new, root)] {
        let link = link.as_ref().unwrap();
        let certificate = link.certificate.as_ref().unwrap();
        assert_eq!(link.tbs, tbs_sha256(certificate.der()));
        readers::verify(&[issuer], certificate, &[]).unwrap();
    }
}

/// Bundle versions have no gap; the last one has every root, and each root alone verifies it.
async fn assert_bundles(regenerator: &Regenerator, authority: &Authority, roots: &[RootRecord]) {
    for version in 1..=authority.bundle {
        assert!(regenerator.ledger.bundle(version).await.unwrap().is_some(), "bundle {version}");
    }
    assert!(regenerator.ledger.bundle(authority.bundle + 1).await.unwrap().is_none());
    let published = regenerator.ledger.bundle(authority.bundle).await.unwrap().unwrap();
    let certificates: Vec<_> = roots.iter().map(|root| root.certificate.clone().unwrap()).collect();
    assert_eq!(published.bundle.anchors, certificates);
    for certificate in certificates {
        assert_eq!(verify_jws(&published.jws, &[certificate]).unwrap(), published.bundle);
    }
}

/// Every root's key can be used; every other key that was created is pending deletion.
async fn assert_keys(regenerator: &Regenerator, roots: &[RootRecord]) {
    let keys = regenerator.keys().await;
    for root in roots {
        let of_it = keys.iter().filter(|(generation, ..)| *generation == root.generation);
        let usable: Vec<_> = of_it.filter(|(.., state)| *state != KeyState::PendingDeletion).collect();
        let expected = (root.generation, root.key.clone().unwrap(), KeyState::Enabled);
        assert_eq!(usable, [&expected], "{keys:?}");
    }
    assert!(keys.iter().all(|(generation, ..)| (1..=roots.len() as u32).contains(generation)), "{keys:?}");
}

fn tbs_sha256(der: &[u8]) -> Fingerprint {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    Fingerprint::of(certificate.tbs_certificate.as_ref())
}
