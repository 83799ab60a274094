//! Contents that standards allow but that are rare, or rarely checked: implementations differ on each of them.

use time::Duration;

use super::certificate::{
    Aki, Spec, TODAY, alternative_names, common_name, dns, extension, ip, name, name_constraints,
};
use super::der::{BOOLEAN_TRUE, explicit, integer, number, octets, oid, sequence, tlv};
use super::key::{EC, Key, Kind, RSA, pem};
use super::{
    Case, HOST, below, code, imported, imported_without, intermediate, intermediate_key, intermediate_with, leaf_key,
    leaf_of, leaf_with, pki, refused,
};

pub(super) fn cases() -> Vec<Case> {
    [names(), extensions(), keys(), leaves()].concat()
}

fn names() -> Vec<Case> {
    let cn = |tag, value: &[u8]| {
        let value = tlv(tag, value);
        leaf_with(move |leaf| {
            leaf.subject = name(&[("2.5.4.3", value)]);
            leaf.names = None;
        })
    };
    let wide: Vec<u8> = HOST.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let two = |first: &str, second: &str| {
        let names = [("2.5.4.3", tlv(0x0c, first.as_bytes())), ("2.5.4.3", tlv(0x0c, second.as_bytes()))];
        leaf_with(move |leaf| {
            leaf.subject = name(&names);
            leaf.names = None;
        })
    };
    vec![
        imported("CN as PrintableString, no SAN", cn(0x13, HOST.as_bytes())),
        imported("CN as IA5String, no SAN", cn(0x16, HOST.as_bytes())),
        imported("CN as BMPString, no SAN", cn(0x1e, &wide)),
        imported("two CNs, the last a host name, no SAN", two("Board 7", HOST)),
        refused("two CNs, only the first a host name, no SAN", &[code::NO_NAME], two(HOST, "Board 7")),
        imported(
            "an empty SAN, CN is a host name",
            leaf_with(|leaf| {
                leaf.names = Some(alternative_names(&[]));
            }),
        ),
        imported(
            "the SAN has a name twice",
            leaf_with(|leaf| {
                leaf.names = Some(alternative_names(&[dns(HOST), dns(HOST)]));
            }),
        ),
        refused(
            "the SAN has a name with a dot at its end",
            &[code::BAD_NAME],
            leaf_with(|leaf| {
                leaf.names = Some(alternative_names(&[dns(&format!("{HOST}."))]));
            }),
        ),
        refused(
            "the SAN has a bare wildcard",
            &[code::BAD_NAME],
            leaf_with(|leaf| {
                leaf.names = Some(alternative_names(&[dns("*")]));
            }),
        ),
        refused(
            "the SAN has an IPv4 address as a host name",
            &[code::BAD_NAME],
            leaf_with(|leaf| {
                leaf.names = Some(alternative_names(&[dns(HOST), dns("192.0.2.7")]));
            }),
        ),
        imported("permitted: a domain with a dot before it", constrained(&[dns(".fleet.example")], &[])),
        refused("permitted: a mask with holes", &[code::NAME_CONSTRAINTS], {
            addressed(&[dns("fleet.example"), ip(&[192, 0, 2, 7, 255, 0, 255, 255])], &[])
        }),
        refused("permitted: an address without a mask", &[code::NAME_CONSTRAINTS], {
            addressed(&[dns("fleet.example"), ip(&[192, 0, 2, 7])], &[])
        }),
        refused("excluded: an address without a mask", &[code::NAME_CONSTRAINTS], {
            addressed(&[], &[ip(&[192, 0, 2, 99])])
        }),
        refused("constraints of nothing", &[code::MALFORMED_EXTENSION], constrained(&[], &[])),
        refused("CN is an address outside the permitted ones, no SAN", &[code::NAME_CONSTRAINTS], {
            let mut bundle = constrained(&[ip(&[192, 0, 2, 0, 255, 255, 255, 0])], &[]);
            let mut leaf = Spec::leaf(HOST, leaf_key());
            (leaf.subject, leaf.names) = (common_name("198.51.100.7"), None);
            bundle.leaf = leaf.signed_by(&constraining(&[ip(&[192, 0, 2, 0, 255, 255, 255, 0])], &[]));
            bundle
        }),
    ]
}

fn extensions() -> Vec<Case> {
    let basic = |value: Vec<u8>| {
        move |spec: &mut Spec| spec.basic_constraints = Some(extension("2.5.29.19", true, &tlv(0x30, &value)))
    };
    let usage = |value: &'static [u8]| {
        move |spec: &mut Spec| spec.key_usage = Some(extension("2.5.29.15", true, &tlv(0x03, value)))
    };
    let aki = |content: Vec<u8>| {
        move |leaf: &mut Spec| {
            leaf.aki = Aki::None;
            leaf.more = vec![extension("2.5.29.35", false, &tlv(0x30, &content))];
        }
    };
    let other_issuer = [tlv(0xa1, &explicit(4, &common_name("Somebody"))), tlv(0x82, &[7])].concat();
    vec![
        refused("a negative pathLen", &[code::MALFORMED_EXTENSION, code::NOT_AN_AUTHORITY], {
            intermediate_with(basic([BOOLEAN_TRUE, &tlv(0x02, &[0xff])].concat()))
        }),
        refused("a pathLen of eight octets", &[code::MALFORMED_EXTENSION, code::NOT_AN_AUTHORITY], {
            intermediate_with(basic([BOOLEAN_TRUE, &number(u64::MAX)].concat()))
        }),
        refused("cA is neither true nor false", &[code::MALFORMED_EXTENSION, code::NOT_AN_AUTHORITY], {
            intermediate_with(basic(vec![0x01, 0x01, 0x17]))
        }),
        refused("bytes behind basicConstraints", &[code::MALFORMED_EXTENSION, code::NOT_AN_AUTHORITY], {
            intermediate_with(|spec| {
                let value = [sequence([BOOLEAN_TRUE]), vec![0x05, 0x00]].concat();
                spec.basic_constraints = Some(extension("2.5.29.19", true, &value));
            })
        }),
        imported("a leaf with a pathLen", leaf_with(basic(number(0)))),
        refused("keyUsage of nothing", &[code::PURPOSE], leaf_with(usage(&[0]))),
        refused("an intermediate with keyUsage of nothing", &[code::NOT_AN_AUTHORITY], intermediate_with(usage(&[0]))),
        imported("AKI without an identifier", leaf_with(aki(Vec::new()))),
        imported("AKI with another issuer and serial number", leaf_with(aki(other_issuer))),
        imported("serial number nought", leaf_with(|leaf| leaf.serial = vec![0])),
        imported("no extensions, but a field for them", {
            leaf_with(|leaf| {
                (leaf.basic_constraints, leaf.key_usage, leaf.extended_key_usage) = (None, None, None);
                (leaf.names, leaf.ski, leaf.aki) = (None, None, Aki::None);
            })
        }),
    ]
}

fn keys() -> Vec<Case> {
    let (p256, rsa) = (leaf_key(), Key::shared(Kind::Rsa2048, 2));
    let bare = |key: &Key| {
        let scalar = super::der::read_all(super::der::read(key.inner()).0)[1];
        pem("EC PRIVATE KEY", &sequence([number(1), octets(scalar)]))
    };
    let parameters = |curve: &str| pem("EC PARAMETERS", &oid(curve));
    let p384 = Key::shared(Kind::P384, 2);
    vec![
        imported("SEC 1 whose curve is only in EC PARAMETERS", {
            leaf_with(|_| {}).with_key(parameters(p256.curve_oid()) + &bare(p256))
        }),
        refused("SEC 1 without a curve", &[code::KEY_UNSUPPORTED], leaf_with(|_| {}).with_key(bare(p256))),
        refused("SEC 1 behind EC PARAMETERS of another curve", &[code::KEY_MISMATCH], {
            leaf_with(|_| {}).with_key(parameters(p384.curve_oid()) + &bare(p256))
        }),
        refused("RSA that may only sign with PSS", &[code::KEY_UNSUPPORTED], {
            let algorithm = sequence([oid("1.2.840.113549.1.1.10")]);
            let key = sequence([number(0), algorithm, octets(rsa.inner())]);
            leaf_of(rsa).with_key(pem("PRIVATE KEY", &key))
        }),
        refused("the leaf's RSA key may only sign with PSS", &[code::KEY_MISMATCH, code::UNSUPPORTED_KEY], {
            let mut bundle = leaf_of(rsa);
            let mut leaf = Spec::leaf(HOST, rsa);
            let key = super::der::bits(rsa.public());
            leaf.spki = sequence([sequence([oid("1.2.840.113549.1.1.10")]), key]);
            bundle.leaf = leaf.signed_by(&pki().intermediate);
            bundle
        }),
        refused("PKCS #8 of version 7", &[code::KEY_UNREADABLE], {
            let algorithm = sequence([oid(EC), oid(p256.curve_oid())]);
            let key = sequence([number(7), algorithm, octets(p256.inner())]);
            leaf_with(|_| {}).with_key(pem("PRIVATE KEY", &key))
        }),
        refused("RSA of three primes", &[code::KEY_UNSUPPORTED], {
            let numbers = super::der::read_all(super::der::read(rsa.inner()).0);
            let mut numbers: Vec<_> = numbers.into_iter().map(integer).collect();
            numbers[0] = number(1);
            numbers.push(sequence([sequence([number(3), number(1), number(1)])]));
            let key = sequence([number(0), sequence([oid(RSA), vec![5, 0]]), octets(&sequence(numbers))]);
            leaf_of(rsa).with_key(pem("PRIVATE KEY", &key))
        }),
        imported("a compressed point", {
            let point = p256.public();
            let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
            leaf_with(|leaf| {
                let algorithm = sequence([oid(EC), oid(p256.curve_oid())]);
                leaf.spki = sequence([algorithm, super::der::bits(&compressed)]);
            })
        }),
    ]
}

fn leaves() -> Vec<Case> {
    vec![
        imported_without("two leaves of one key: the newer is meant", 1, {
            let mut older = Spec::leaf(HOST, leaf_key());
            older.not_after = TODAY + Duration::days(30);
            let older = older.signed_by(&pki().intermediate);
            let mut bundle = leaf_with(|_| {});
            bundle.others.push(older);
            bundle
        }),
        imported("the intermediate's key is also the root's", {
            let key = super::root_key();
            let same = Spec::authority("Test Issuing", key).authority_by(key, &pki().root);
            below(&[&same, &pki().root])
        }),
        refused("the leaf's key is also the intermediate's", &[code::KEY_MISMATCH], {
            let mut bundle = leaf_with(|leaf| leaf.spki = intermediate_key().spki.clone());
            bundle.key = leaf_key().pem();
            bundle
        }),
    ]
}

fn constraining(permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> super::Authority {
    Spec { more: vec![name_constraints(permitted, excluded)], ..intermediate() }
        .authority_by(intermediate_key(), &pki().root)
}

/// The leaf has an IP address.
fn addressed(permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> super::Bundle {
    let mut leaf = Spec::leaf(HOST, leaf_key());
    leaf.names = Some(alternative_names(&[dns(HOST), ip(&[192, 0, 2, 7])]));
    let mut bundle = constrained(permitted, excluded);
    bundle.leaf = leaf.signed_by(&constraining(permitted, excluded));
    bundle
}

fn constrained(permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> super::Bundle {
    below(&[&constraining(permitted, excluded), &pki().root])
}
