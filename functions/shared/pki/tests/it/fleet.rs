//! Three generations with their links, issuing authorities and revocation lists.

use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::certificate::Certificate;
use rootcast_pki::crl::{Crl, CrlId, CrlSpec, Reason, Revoked, prepare_crl};
use rootcast_pki::hierarchy::{Generation, Hierarchy};
use rootcast_pki::root::{
    IssuingSpec, LeafSpec, LinkKind, LinkSpec, Serial, prepare_issuing, prepare_link, prepare_server_leaf,
};
use rootcast_pki::signer::{IssuingId, SignerId};
use rootcast_pki::subject::DeviceSubject;
use time::Duration;

use super::keys::{CRLS, Key, TODAY};

pub(crate) const OLDEST: u32 = 5;
pub(crate) const HOST: &str = "bmc.lab.example";

pub(crate) struct Fleet {
    pub(crate) keys: Vec<Key>,
    pub(crate) issuing_key: Key,
    pub(crate) generations: Vec<Generation>,
    pub(crate) issuing: Vec<Certificate>,
}

pub(crate) fn serial(first: u8, second: u8) -> Serial {
    let mut octets = [first; 16];
    octets[1] = second;
    Serial::from_random(octets)
}

pub(crate) fn issuing_spec(generation: u32, algorithm: KeyAlgorithm) -> IssuingSpec {
    IssuingSpec {
        id: IssuingId { generation, number: 1 },
        root_name: "Rootcast Root".to_owned(),
        subject: "OU=Fleet,O=Example Corp,C=DE".parse().unwrap(),
        algorithm,
        serial: serial(1, generation as u8),
        not_before: TODAY,
        not_after: TODAY + Duration::days(730),
        permitted: Default::default(),
        crl: CrlId::authorities(generation).url(CRLS),
    }
}

pub(crate) fn leaf_spec(generation: u32) -> LeafSpec {
    let serial = serial(2, generation as u8);
    LeafSpec {
        subject: DeviceSubject::new(HOST, [HOST.to_owned()], vec!["10.0.0.7".parse().unwrap()]).unwrap(),
        serial,
        not_before: TODAY,
        not_after: TODAY + Duration::days(365),
        crl: Some(CrlId::of(IssuingId { generation, number: 1 }.into(), &serial).url(CRLS)),
    }
}

impl Fleet {
    pub(crate) fn new(roots: [KeyAlgorithm; 3], issuing: KeyAlgorithm) -> Self {
        let keys: Vec<_> = roots.into_iter().map(Key::generate).collect();
        let issuing_key = Key::generate(issuing);
        let certificates: Vec<_> = (OLDEST..).zip(&keys).map(|(generation, key)| key.root(generation)).collect();
        let link = |kind, subject: usize, issuer: usize| {
            let serial = serial(3, (subject * 3 + issuer) as u8);
            let crl = Some(CrlId::authorities(OLDEST + issuer as u32).url(CRLS));
            let prepared = prepare_link(&LinkSpec { kind, serial, crl }, &certificates[subject], &certificates[issuer]);
            keys[issuer].complete(prepared.unwrap())
        };
        let generation = |at: usize| Generation {
            root: certificates[at].clone(),
            new_with_old: at.checked_sub(1).map(|below| link(LinkKind::NewWithOld, at, below)),
            old_with_new: at.checked_sub(1).map(|below| link(LinkKind::OldWithNew, below, at)),
        };
        let generations = (0..3).map(generation).collect();
        let below = |(generation, (key, root)): (u32, (&Key, &Certificate))| {
            let spec = issuing_spec(generation, issuing);
            key.complete(prepare_issuing(&spec, &issuing_key.spki_der, root).unwrap())
        };
        let issuing = (OLDEST..).zip(keys.iter().zip(&certificates)).map(below).collect();
        Self { keys, issuing_key, generations, issuing }
    }

    /// The key of one root, signed by another.
    pub(crate) fn link(&self, subject: usize, issuer: usize) -> Certificate {
        let kind = if subject > issuer { LinkKind::NewWithOld } else { LinkKind::OldWithNew };
        let serial = serial(3, (subject * 3 + issuer) as u8);
        let crl = Some(CrlId::authorities(OLDEST + issuer as u32).url(CRLS));
        let spec = LinkSpec { kind, serial, crl };
        self.keys[issuer].complete(prepare_link(&spec, self.root(subject), self.root(issuer)).unwrap())
    }

    /// As it is before the generations from `count` on are activated.
    pub(crate) fn hierarchy(&self, count: usize) -> Hierarchy {
        Hierarchy::new(self.generations[..count].to_vec(), self.issuing[..count].to_vec())
    }

    pub(crate) fn root(&self, at: usize) -> &Certificate {
        &self.generations[at].root
    }

    pub(crate) fn leaf(&self, at: usize) -> Certificate {
        let (spec, key) = (leaf_spec(OLDEST + at as u32), Key::shared(KeyAlgorithm::EcdsaP256));
        self.issuing_key.complete(prepare_server_leaf(&spec, &key.spki_der, &self.issuing[at]).unwrap())
    }

    /// Each root's list of authorities, and the list of each issuing authority that covers its leaf.
    pub(crate) fn lists(&self, revoked: &[&Certificate]) -> Vec<Crl> {
        let list = |list: CrlId, issuer: &Certificate, key: &Key| {
            let revoked = revoked.iter().filter(|each| each.issuer_dn() == issuer.subject_dn()).map(|each| Revoked {
                serial: Serial::try_from(each.serial().to_owned()).unwrap(),
                at: TODAY,
                reason: Reason::KeyCompromise,
            });
            let spec = CrlSpec {
                list,
                number: 1,
                this_update: TODAY,
                next_update: TODAY + list.lifetime(),
                urls: vec![list.url(CRLS)],
                revoked: revoked.collect(),
            };
            key.complete(prepare_crl(&spec, issuer).unwrap())
        };
        let of_generation = |at: usize| {
            let generation = OLDEST + at as u32;
            let leaves = CrlId::of(SignerId::from(IssuingId { generation, number: 1 }), &serial(2, 0));
            [
                list(CrlId::authorities(generation), self.root(at), &self.keys[at]),
                list(leaves, &self.issuing[at], &self.issuing_key),
            ]
        };
        (0..3).flat_map(of_generation).collect()
    }
}
