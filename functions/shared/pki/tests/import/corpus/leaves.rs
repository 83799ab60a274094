//! Allowed and forbidden contents of a server certificate.

use aws_lc_rs::signature as lc;
use time::Duration;

use super::certificate::{
    Aki, CLIENT_AUTH, CODE_SIGNING, CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, SERVER_AUTH, Signature, Spec, TODAY,
    alternative_names, basic_constraints, common_name, dns, email, extended_key_usage, extension, ip, key_usage, name,
};
use super::der::{NULL, explicit, number, oid, sequence, tlv};
use super::key::{Key, Kind};
use super::{
    Bundle, Case, HOST, below, code, imported, intermediate, intermediate_key, leaf_key, leaf_of, leaf_with, openssl,
    other_key, pki, refused,
};

pub(super) fn cases() -> Vec<Case> {
    let cn = |value: &'static str| {
        leaf_with(|leaf| {
            leaf.subject = common_name(value);
            leaf.names = None;
        })
    };
    vec![
        imported("leaf, intermediate and root", leaf_with(|_| {})),
        // Names.
        imported("CN is a host name, no SAN", cn(HOST)),
        imported("CN is a wildcard, no SAN", cn("*.fleet.example")),
        imported("CN is an IPv4 address, no SAN", cn("192.0.2.7")),
        imported("CN is an IPv6 address, no SAN", cn("2001:db8::7")),
        refused("CN is no host name, no SAN", &[code::NO_NAME], cn("Board 7, rack 12")),
        refused("CN has a wildcard in the middle, no SAN", &[code::NO_NAME], cn("bmc.*.example")),
        imported("CN has an underscore, no SAN", cn("bmc_0001.example")),
        refused("CN is empty, no SAN", &[code::NO_NAME], cn("")),
        refused(
            "no CN, no SAN",
            &[code::NO_NAME],
            leaf_with(|leaf| {
                leaf.subject = name(&[("2.5.4.10", tlv(0x0c, b"Example"))]);
                leaf.names = None;
            }),
        ),
        imported("CN is no host name, but there is a SAN", leaf_with(|leaf| leaf.subject = common_name("Board 7"))),
        imported(
            "empty subject, critical SAN",
            leaf_with(|leaf| {
                leaf.subject = name(&[]);
                leaf.names = Some(extension("2.5.29.17", true, &sequence([dns(HOST)])));
            }),
        ),
        imported(
            "SAN of host names, a wildcard and addresses",
            leaf_with(|leaf| {
                let addresses = [ip(&[192, 0, 2, 7]), ip(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7])];
                leaf.names = Some(alternative_names(&[&[dns(HOST), dns("*.fleet.example")], &addresses[..]].concat()));
            }),
        ),
        refused(
            "SAN of an e-mail address only, CN is no host name",
            &[code::NO_NAME],
            leaf_with(|leaf| {
                leaf.subject = common_name("Board 7");
                leaf.names = Some(alternative_names(&[email("board@fleet.example")]));
            }),
        ),
        refused(
            "SAN with an address of five octets",
            &[code::BAD_NAME],
            leaf_with(|leaf| leaf.names = Some(alternative_names(&[dns(HOST), ip(&[1, 2, 3, 4, 5])]))),
        ),
        // Validity includes both ends (RFC 5280 §4.1.2.5).
        imported("valid until this second", leaf_with(|leaf| leaf.not_after = TODAY)),
        imported("valid from this second", leaf_with(|leaf| leaf.not_before = TODAY)),
        imported(
            "valid until 9999",
            leaf_with(|leaf| leaf.not_after = time::macros::datetime!(9999-12-31 23:59:59 UTC)),
        ),
        refused("expired a second ago", &[code::EXPIRED], leaf_with(|leaf| leaf.not_after = TODAY - Duration::SECOND)),
        refused(
            "valid from the next second",
            &[code::NOT_YET_VALID],
            leaf_with(|leaf| leaf.not_before = TODAY + Duration::SECOND),
        ),
        refused(
            "ends before it starts",
            &[code::EXPIRED, code::NOT_YET_VALID],
            leaf_with(|leaf| {
                (leaf.not_before, leaf.not_after) = (TODAY + Duration::DAY, TODAY - Duration::DAY);
            }),
        ),
        // Usages.
        refused(
            "a certificate authority as the leaf",
            &[code::LEAF_IS_CA],
            leaf_with(|leaf| leaf.basic_constraints = Some(basic_constraints(None))),
        ),
        imported("leaf without basicConstraints", leaf_with(|leaf| leaf.basic_constraints = None)),
        imported("leaf without keyUsage", leaf_with(|leaf| leaf.key_usage = None)),
        imported("leaf without extendedKeyUsage", leaf_with(|leaf| leaf.extended_key_usage = None)),
        imported(
            "leaf for servers and clients",
            leaf_with(|leaf| leaf.extended_key_usage = Some(extended_key_usage(&[SERVER_AUTH, CLIENT_AUTH]))),
        ),
        imported(
            "leaf for clients only",
            leaf_with(|leaf| leaf.extended_key_usage = Some(extended_key_usage(&[CLIENT_AUTH]))),
        ),
        refused(
            "leaf that signs code",
            &[code::PURPOSE],
            leaf_with(|leaf| leaf.extended_key_usage = Some(extended_key_usage(&[CODE_SIGNING]))),
        ),
        refused(
            "leaf whose key may sign certificates",
            &[code::LEAF_IS_CA],
            leaf_with(|leaf| leaf.key_usage = Some(key_usage(DIGITAL_SIGNATURE | KEY_CERT_SIGN))),
        ),
        refused(
            "leaf whose key may only sign CRLs",
            &[code::PURPOSE],
            leaf_with(|leaf| leaf.key_usage = Some(key_usage(CRL_SIGN))),
        ),
        imported("leaf without SKI", leaf_with(|leaf| leaf.ski = None)),
        imported("leaf without AKI", leaf_with(|leaf| leaf.aki = Aki::None)),
        refused("leaf with another AKI", &[code::KEY_IDENTIFIER], leaf_with(|leaf| leaf.aki = Aki::Other(vec![7; 20]))),
        refused("leaf of X.509 version 1", &[code::VERSION], leaf_with(|leaf| leaf.version = 0)),
        // Extensions.
        refused(
            "leaf with a critical extension that nobody knows",
            &[code::CRITICAL_EXTENSION],
            leaf_with(|leaf| leaf.more = vec![extension("1.3.6.1.4.1.99999.1", true, NULL)]),
        ),
        imported(
            "leaf with an extension that nobody knows",
            leaf_with(|leaf| leaf.more = vec![extension("1.3.6.1.4.1.99999.1", false, NULL)]),
        ),
        refused(
            "leaf with an extension twice",
            &[code::DUPLICATE_EXTENSION],
            leaf_with(|leaf| leaf.more = vec![leaf.names.clone().unwrap()]),
        ),
        refused(
            "leaf with an unknown extension twice",
            &[code::DUPLICATE_EXTENSION],
            leaf_with(|leaf| leaf.more = vec![extension("1.3.6.1.4.1.99999.1", false, NULL); 2]),
        ),
        imported(
            "leaf with critical certificatePolicies",
            leaf_with(|leaf| {
                leaf.more = vec![extension("2.5.29.32", true, &sequence([sequence([oid("2.23.140.1.2.1")])]))];
            }),
        ),
        // Signatures.
        refused("signature broken", &[code::SIGNATURE], leaf_with(|leaf| leaf.signature = Signature::Broken)),
        refused(
            "signed by another key",
            &[code::SIGNATURE],
            leaf_with(|leaf| {
                let algorithm = intermediate_key().algorithm();
                leaf.signature = Signature::Other(algorithm, |_, tbs| other_key().sign(tbs).1);
            }),
        ),
        refused(
            "signature algorithm said differently inside",
            &[code::SIGNATURE],
            leaf_with(|leaf| leaf.algorithm_inside = Some(Key::shared(Kind::P384, 0).algorithm())),
        ),
        refused(
            "ECDSA with SHA-1",
            &[code::WEAK_SIGNATURE],
            leaf_with(|leaf| {
                let algorithm = sequence([oid("1.2.840.10045.4.1")]);
                leaf.signature = Signature::Other(algorithm, |key, tbs| openssl::sign(&key.pem(), "sha1", tbs));
            }),
        ),
        refused(
            "RSA with SHA-1",
            &[code::WEAK_SIGNATURE],
            by_rsa("1.2.840.113549.1.1.5", NULL, |key, tbs| openssl::sign(&key.pem(), "sha1", tbs)),
        ),
        refused(
            "RSA with MD5",
            &[code::WEAK_SIGNATURE],
            by_rsa("1.2.840.113549.1.1.4", NULL, |key, tbs| openssl::sign(&key.pem(), "md5", tbs)),
        ),
        imported(
            "RSA with SHA-384",
            by_rsa("1.2.840.113549.1.1.12", NULL, |key, tbs| key.sign_rsa(&lc::RSA_PKCS1_SHA384, tbs)),
        ),
        imported(
            "RSA with SHA-512",
            by_rsa("1.2.840.113549.1.1.13", NULL, |key, tbs| key.sign_rsa(&lc::RSA_PKCS1_SHA512, tbs)),
        ),
        imported(
            "RSA-PSS with SHA-256",
            by_rsa("1.2.840.113549.1.1.10", &pss(), |key, tbs| key.sign_rsa(&lc::RSA_PSS_SHA256, tbs)),
        ),
        refused(
            "a signature algorithm that nobody knows",
            &[code::UNSUPPORTED_SIGNATURE],
            leaf_with(|leaf| {
                leaf.signature = Signature::Other(sequence([oid("1.3.6.1.4.1.99999.2")]), |key, tbs| key.sign(tbs).1);
            }),
        ),
        refused(
            "leaf with 1024 bits of RSA",
            &[code::KEY_WEAK, code::WEAK_KEY],
            leaf_of(Key::shared(Kind::Rsa1024, 0)),
        ),
        refused(
            "leaf on secp256k1",
            &[code::KEY_UNSUPPORTED, code::UNSUPPORTED_KEY],
            leaf_of(Key::shared(Kind::Secp256k1, 0)),
        ),
    ]
}

/// A leaf signed with this algorithm by an RSA intermediate.
fn by_rsa(algorithm: &str, parameters: &[u8], make: fn(&Key, &[u8]) -> Vec<u8>) -> Bundle {
    let key = Key::shared(Kind::Rsa2048, 1);
    let issuing = Spec { spki: key.spki.clone(), ..intermediate() }.authority_by(key, &pki().root);
    let mut leaf = Spec::leaf(HOST, leaf_key());
    leaf.signature = Signature::Other(sequence([&oid(algorithm), parameters]), make);
    let mut bundle = below(&[&issuing, &pki().root]);
    bundle.leaf = leaf.signed_by(&issuing);
    bundle
}

/// RSASSA-PSS-params with SHA-256, MGF1 with SHA-256, 32 octets of salt (RFC 4055 §3.1).
fn pss() -> Vec<u8> {
    let sha256 = sequence([&oid("2.16.840.1.101.3.4.2.1"), NULL]);
    let mgf1 = sequence([&oid("1.2.840.113549.1.1.8"), &sha256]);
    sequence([explicit(0, &sha256), explicit(1, &mgf1), explicit(2, &number(32))])
}
