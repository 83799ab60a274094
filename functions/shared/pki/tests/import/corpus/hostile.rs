//! Input designed to cost time or memory, or to produce endless messages.

use super::certificate::{
    Aki, Authority, Spec, alternative_names, common_name, dns, extended_key_usage, extension, name_constraints,
};
use super::der::{NULL, integer, number, octets, oid, sequence, tlv};
use super::key::{EC, Key, Kind, RSA, pem, rsa_spki};
use super::{
    Case, HOST, Input, below, code, imported, intermediate_key, intermediate_with, judged, leaf_key, leaf_with,
    other_key, pki, refused, written,
};
use super::{Expected, chains::chain};

/// `rootcast_pki::import::LIMIT`, repeated here.
pub(crate) const LIMIT: usize = 64 * 1024;

pub(super) fn cases() -> Vec<Case> {
    let ordinary = leaf_with(|_| {});
    let padded = |size: usize| {
        let mut text = ordinary.text();
        text.push_str(&"\n".repeat(size - text.len()));
        Input::Pem { certificate: text, certificate_chain: None, private_key: ordinary.key.clone() }
    };
    let too_large = Expected::Refused(&[code::TOO_LARGE]);
    vec![
        written("certificates of just 64 KiB", Expected::Imported { chain: 2, warnings: 0 }, padded(LIMIT)),
        written("certificates of a byte more than 64 KiB", too_large, padded(LIMIT + 1)),
        written("certificate and chain together more than 64 KiB", too_large, {
            let chain: String = ordinary.others.iter().map(|der| pem("CERTIFICATE", der)).collect();
            let leaf = pem("CERTIFICATE", &ordinary.leaf);
            let blank = "\n".repeat(LIMIT + 1 - leaf.len() - chain.len());
            Input::Pem { certificate: leaf + &blank, certificate_chain: Some(chain), private_key: ordinary.key.clone() }
        }),
        written(
            "a megabyte of headers",
            too_large,
            Input::Pem {
                certificate: "-----BEGIN CERTIFICATE-----\n".repeat(40_000),
                certificate_chain: None,
                private_key: ordinary.key.clone(),
            },
        ),
        written(
            "64 KiB of headers",
            Expected::Refused(&[code::CERTIFICATE_FRAMING]),
            Input::Pem {
                certificate: "-----BEGIN CERTIFICATE-----\n".repeat(LIMIT / 28),
                certificate_chain: None,
                private_key: ordinary.key.clone(),
            },
        ),
        written(
            "64 KiB of dashes",
            Expected::Refused(&[code::CERTIFICATE_FRAMING]),
            Input::Pem { certificate: "-".repeat(LIMIT), certificate_chain: None, private_key: ordinary.key.clone() },
        ),
        written(
            "64 KiB of empty certificates",
            Expected::Refused(&[code::CERTIFICATE_UNREADABLE]),
            Input::Pem {
                certificate: pem("CERTIFICATE", &[0x30, 0]).repeat(LIMIT / 60),
                certificate_chain: None,
                private_key: ordinary.key.clone(),
            },
        ),
        refused("a key of a byte more than 16 KiB", &[code::TOO_LARGE], {
            let key = format!("{}{}", ordinary.key, "\n".repeat(16 * 1024 + 1 - ordinary.key.len()));
            ordinary.clone().with_key(key)
        }),
        imported("a key of just 16 KiB", {
            let key = format!("{}{}", ordinary.key, "\n".repeat(16 * 1024 - ordinary.key.len()));
            ordinary.clone().with_key(key)
        }),
        refused("a chain of forty", &[code::TOO_MANY_CERTIFICATES], chain(38)),
        refused("a chain of twelve", &[code::TANGLED], chain(10)),
        judged("thirty-nine copies of one intermediate", Expected::Imported { chain: 2, warnings: 0 }, {
            let intermediate = pki().intermediate.der.as_slice();
            ordinary.clone().with_others(&[&[intermediate; 39][..], &[pki().root.der.as_slice()]].concat())
        }),
        refused("fourteen authorities of two names and keys that signed each other", &[code::TANGLED], {
            let knot: Vec<_> = (0..14).map(knotted).collect();
            below(&knot.iter().collect::<Vec<_>>())
        }),
        refused("eleven authorities of the issuer's name, none of its key", &[code::SIGNATURE], {
            let namesakes: Vec<_> = (0..11).map(namesake).collect();
            let mut bundle = leaf_with(|leaf| leaf.aki = Aki::None);
            bundle.others = namesakes.into_iter().map(|authority| authority.der).collect();
            bundle
        }),
        refused("three thousand names", &[code::TOO_MANY_NAMES], {
            leaf_with(|leaf| {
                leaf.names = Some(alternative_names(&(0..3000).map(|n| dns(&format!("n{n}.ex"))).collect::<Vec<_>>()))
            })
        }),
        imported("a hundred names", {
            leaf_with(|leaf| {
                leaf.names = Some(alternative_names(&(0..100).map(|n| dns(&format!("n{n}.ex"))).collect::<Vec<_>>()))
            })
        }),
        refused("a thousand names against a thousand constraints", &[code::NAME_CONSTRAINTS], {
            let names: Vec<_> = (0..1000).map(|n| dns(&format!("n{n}.ex"))).collect();
            let others: Vec<_> = (0..1000).map(|n| dns(&format!("o{n}.ex"))).collect();
            let mut bundle = intermediate_with(|spec| spec.more = vec![name_constraints(&[], &others)]);
            let issuing = {
                let mut spec = super::intermediate();
                spec.more = vec![name_constraints(&[], &others)];
                spec.authority_by(intermediate_key(), &pki().root)
            };
            let mut leaf = Spec::leaf(HOST, leaf_key());
            leaf.names = Some(alternative_names(&names));
            bundle.leaf = leaf.signed_by(&issuing);
            bundle.others[0] = issuing.der;
            bundle
        }),
        imported("a thousand extensions", {
            leaf_with(|leaf| {
                leaf.more = (0..1000).map(|n| extension(&format!("1.3.6.1.4.1.99999.{n}"), false, NULL)).collect();
            })
        }),
        imported("a thousand purposes", {
            leaf_with(|leaf| {
                let mut purposes: Vec<_> = (0..1000).map(|n| format!("1.3.6.1.4.1.99999.{n}")).collect();
                purposes.push(super::certificate::SERVER_AUTH.to_owned());
                leaf.extended_key_usage =
                    Some(extended_key_usage(&purposes.iter().map(String::as_str).collect::<Vec<_>>()));
            })
        }),
        refused("a modulus of 16384 bits", &[code::KEY_MISMATCH, code::UNSUPPORTED_KEY], {
            leaf_with(|leaf| leaf.spki = rsa_spki(&[0xff; 2048], &[1, 0, 1]))
        }),
        refused("an exponent of 2048 bits", &[code::KEY_MISMATCH, code::UNSUPPORTED_KEY], {
            leaf_with(|leaf| leaf.spki = rsa_spki(&modulus(), &[0xff; 256]))
        }),
        refused("an exponent of one", &[code::KEY_MISMATCH, code::WEAK_KEY], {
            leaf_with(|leaf| leaf.spki = rsa_spki(&modulus(), &[1]))
        }),
        refused("an even modulus", &[code::KEY_MISMATCH, code::WEAK_KEY], {
            leaf_with(|leaf| leaf.spki = rsa_spki(&[0xfe; 256], &[1, 0, 1]))
        }),
        refused("an issuer with a modulus of 16384 bits", &[code::UNSUPPORTED_KEY], {
            let mut bundle = intermediate_with(|spec| spec.spki = rsa_spki(&[0xff; 2048], &[1, 0, 1]));
            bundle.others.truncate(2);
            bundle
        }),
        refused("a private key with a modulus of 16384 bits", &[code::KEY_UNSUPPORTED], {
            let numbers = [number(0), integer(&[0xff; 2048]), number(65537), integer(&[0x7f; 2048])];
            let primes = [integer(&[0xff; 1024]), integer(&[0xfd; 1024])];
            let more = [integer(&[0x7f; 1024]), integer(&[0x7d; 1024]), integer(&[0x7b; 1024])];
            let key = sequence([&numbers[..], &primes[..], &more[..]].concat());
            let algorithm = sequence([&oid(RSA), NULL]);
            ordinary.clone().with_key(pem("PRIVATE KEY", &sequence([number(0), algorithm, octets(&key)])))
        }),
        refused("a public key that is no point of the curve", &[code::KEY_MISMATCH], {
            leaf_with(|leaf| {
                let algorithm = sequence([oid(EC), oid("1.2.840.10045.3.1.7")]);
                leaf.spki = sequence([algorithm, super::der::bits(&[&[4][..], &[7; 64]].concat())]);
            })
        }),
        refused("ten thousand nested sequences", &[code::CERTIFICATE_UNREADABLE], {
            let nested = (0..10_000).fold(Vec::new(), |inner, _| tlv(0x30, &inner));
            let mut bundle = ordinary.clone();
            bundle.leaf = nested;
            bundle.with_others(&[])
        }),
        refused("an extension of five thousand nested sequences", &[code::MALFORMED_EXTENSION], {
            let nested = (0..5_000).fold(Vec::new(), |inner, _| tlv(0x30, &inner));
            leaf_with(|leaf| leaf.more = vec![extension("2.5.29.30", false, &nested)])
        }),
        refused("a length that promises four gigabytes", &[code::CERTIFICATE_UNREADABLE], {
            let mut bundle = ordinary.clone();
            bundle.leaf = vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30, 0x03, 0x02, 0x01, 0x01];
            bundle.with_others(&[])
        }),
        refused("a length without end", &[code::CERTIFICATE_UNREADABLE], {
            let mut bundle = ordinary.clone();
            bundle.leaf = [&[0x30, 0x80], &bundle.leaf[4..], &[0, 0]].concat();
            bundle
        }),
        refused("a subject of forty thousand letters", &[code::NO_NAME], {
            leaf_with(|leaf| {
                leaf.subject = common_name(&"x".repeat(40_000));
                leaf.names = None;
            })
        }),
        refused("a subject of control characters", &[code::NO_NAME], {
            leaf_with(|leaf| {
                leaf.subject = common_name("\u{1b}[2J\u{7}\r\n\u{202e}\0evil");
                leaf.names = None;
            })
        }),
        refused("a host name with a NUL in it", &[code::BAD_NAME], {
            leaf_with(|leaf| leaf.names = Some(alternative_names(&[dns("bmc.example\0.evil.example")])))
        }),
        refused("a host name that is no ASCII", &[code::BAD_NAME], {
            leaf_with(|leaf| leaf.names = Some(alternative_names(&[dns("größe.example")])))
        }),
        imported("a serial number of a thousand octets", leaf_with(|leaf| leaf.serial = vec![0x77; 1000])),
    ]
}

fn modulus() -> Vec<u8> {
    super::der::read_all(super::der::read(Key::shared(Kind::Rsa2048, 2).inner()).0)[1].to_vec()
}

/// An authority with the issuer's name and another key.
fn namesake(number: u8) -> Authority {
    let mut spec = super::intermediate();
    spec.spki = other_key().spki.clone();
    (spec.serial, spec.ski) = (vec![number + 1; 8], None);
    spec.authority_by(other_key(), &pki().root)
}

/// Two names that sign each other in turn: no path, however long, leads to a root.
fn knotted(number: u8) -> Authority {
    let mut knot = [("Left", intermediate_key()), ("Right", other_key())];
    knot.rotate_left(usize::from(number % 2));
    let [(own_name, own_key), (name, key)] = knot;
    let issuer = Spec::authority(name, key).self_signed(key);
    let mut spec = Spec::authority(own_name, own_key);
    spec.serial = vec![number + 1; 8];
    spec.authority_by(own_key, &issuer)
}
