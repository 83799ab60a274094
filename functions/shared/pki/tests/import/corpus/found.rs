//! Material as people have it: what tools and authorities have written for years, although a standard says otherwise.

use aws_lc_rs::encoding::AsBigEndian as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};

use super::certificate::{
    CLIENT_AUTH, CODE_SIGNING, DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, SERVER_AUTH, Spec, alternative_names, common_name,
    dns, extended_key_usage, extension, ip, key_usage,
};
use super::der::{NULL, bits, explicit, number, octets, oid, read, read_all, sequence, tlv};
use super::key::{EC, Key, Kind, RSA, pem};
use super::{
    Bundle, Case, Expected, HOST, Input, code, imported, intermediate, intermediate_key, intermediate_with, judged,
    leaf_key, leaf_of, leaf_with, other_key, pki, refused, root_with, written,
};

/// RFC 5280 §4.2.1.3.
const KEY_AGREEMENT: u8 = 0b0000_1000;

pub(super) fn cases() -> Vec<Case> {
    [text(), keys(), dates(), authorities(), names(), purposes()].concat()
}

fn text() -> Vec<Case> {
    let bundle = leaf_with(|_| {});
    let whole = Expected::Imported { chain: 2, warnings: 0 };
    let text = bundle.text();
    let case = |name, expected, certificate: String| {
        let private_key = leaf_key().pem();
        written(name, expected, Input::Pem { certificate, certificate_chain: None, private_key })
    };
    let damaged = |dashes: &str| {
        let issuer = pem("CERTIFICATE", &pki().intermediate.der).replace("-----BEGIN", dashes);
        pem("CERTIFICATE", &bundle.leaf) + &issuer + &pem("CERTIFICATE", &pki().root.der)
    };
    vec![
        case("footers directly followed by headers", whole, text.replace("-----\n-----BEGIN", "----------BEGIN")),
        case("lines with dashes and words between the blocks", whole, {
            let words = "-----\n----BEGIN CERTIFICATE----\n-----END CERTIFICATE-----\n-- BEGIN\n-----BEGIN a list\n";
            format!("{words}{}{words}", text.replace("-----BEGIN", &format!("{words}-----BEGIN")))
        }),
        case(
            "a block between two others has a damaged header, and is missing",
            Expected::Refused(&[code::CERTIFICATE_FRAMING, code::INCOMPLETE]),
            damaged("----BEGIN"),
        ),
        case("everything in one line, with spaces", Expected::Refused(&[code::CERTIFICATE_FRAMING]), {
            text.replace('\n', " ")
        }),
    ]
}

fn keys() -> Vec<Case> {
    let (ec, ed25519, rsa) = (leaf_key(), Key::shared(Kind::Ed25519, 2), Key::shared(Kind::Rsa2048, 2));
    let ring = |public: Vec<u8>| {
        let algorithm = sequence([oid("1.3.101.112")]);
        let key = sequence([number(1), algorithm, octets(ed25519.inner()), public]);
        leaf_of(ed25519).with_key(pem("PRIVATE KEY", &key))
    };
    let rsa_with = |parameters: &[u8]| {
        let key = sequence([number(0), sequence([&oid(RSA), parameters]), octets(rsa.inner())]);
        leaf_of(rsa).with_key(pem("PRIVATE KEY", &key))
    };
    let p256 = |key: &Key, scalar: &[u8]| {
        let inner = sequence([number(1), octets(scalar), explicit(1, &bits(key.public()))]);
        let key_text =
            pem("PRIVATE KEY", &sequence([number(0), sequence([oid(EC), oid(key.curve_oid())]), octets(&inner)]));
        leaf_of(key).with_key(key_text)
    };
    let scalar = |key: &Key| read_all(read(key.inner()).0)[1].to_vec();
    let short = short_scalar();
    vec![
        imported("Ed25519 with its public key tagged explicitly, as ring wrote it", {
            ring(explicit(1, &bits(ed25519.public())))
        }),
        refused("Ed25519 with another public key tagged explicitly", &[code::KEY_UNREADABLE], {
            ring(explicit(1, &bits(Key::shared(Kind::Ed25519, 3).public())))
        }),
        refused("Ed25519 with more than its public key", &[code::KEY_UNREADABLE], {
            ring(explicit(1, &[bits(ed25519.public()), NULL.to_vec()].concat()))
        }),
        imported("RSA in PKCS #8 without NULL", rsa_with(&[])),
        refused("RSA in PKCS #8 with something else than NULL", &[code::KEY_UNREADABLE], rsa_with(&number(1))),
        imported("a scalar without its leading zero", p256(&short, &scalar(&short)[1..])),
        imported("a scalar with a zero in front", p256(ec, &[&[0], scalar(ec).as_slice()].concat())),
        refused("a scalar with another octet in front", &[code::KEY_UNREADABLE], {
            p256(ec, &[&[1], scalar(ec).as_slice()].concat())
        }),
        imported("one key in two forms", leaf_with(|_| {}).with_key(pem("EC PRIVATE KEY", &ec.sec1()) + &ec.pem())),
    ]
}

/// One P-256 key in 256 begins with a zero octet.
fn short_scalar() -> Key {
    loop {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        if pair.private_key().as_be_bytes().unwrap().as_ref()[0] == 0 {
            return Key::of(Kind::P256, &pair);
        }
    }
}

fn dates() -> Vec<Case> {
    let dates = |tag, text: &[&str; 2]| text.iter().flat_map(|text| tlv(tag, text.as_bytes())).collect::<Vec<_>>();
    let case = |tag, text| leaf_with(|leaf| leaf.dates = Some(dates(tag, text)));
    vec![
        imported("dates before 2050 as GeneralizedTime", case(0x18, &["20260101000000Z", "20280101000000Z"])),
        refused(
            "UTCTime without seconds",
            &[code::CERTIFICATE_UNREADABLE],
            case(0x17, &["2601010000Z", "2801010000Z"]),
        ),
        refused("UTCTime with an offset", &[code::CERTIFICATE_UNREADABLE], {
            case(0x17, &["260101000000+0100", "280101000000+0100"])
        }),
        refused("GeneralizedTime with fractions", &[code::CERTIFICATE_UNREADABLE], {
            case(0x18, &["20260101000000.5Z", "20280101000000.5Z"])
        }),
        refused("an intermediate's UTCTime without seconds", &[code::CERTIFICATE_UNREADABLE], {
            intermediate_with(|spec| spec.dates = Some(dates(0x17, &["2601010000Z", "2801010000Z"])))
        }),
    ]
}

fn authorities() -> Vec<Case> {
    vec![
        judged("root of X.509 version 1", Expected::Imported { chain: 2, warnings: 1 }, {
            root_with(|root| root.version = 0)
        }),
        refused("root of X.509 version 1, expired", &[code::EXPIRED], {
            root_with(|root| (root.version, root.not_after) = (0, super::certificate::TODAY - time::Duration::DAY))
        }),
        refused("root of X.509 version 2", &[code::VERSION], root_with(|root| root.version = 1)),
        imported("leaf with the same name as its issuer", {
            let mut leaf = Spec::leaf(HOST, leaf_key());
            leaf.subject = common_name("Test Issuing");
            let leaf = leaf.signed_by(&pki().intermediate);
            Bundle { leaf, ..leaf_with(|_| {}) }
        }),
    ]
}

fn names() -> Vec<Case> {
    let named = |names: &[Vec<u8>]| leaf_with(|leaf| leaf.names = Some(alternative_names(names)));
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let beside = Expected::Imported { chain: 2, warnings: 1 };
    vec![
        judged("an address that is a DNS name too", beside, named(&[dns(HOST), dns("192.0.2.7"), ip(&[192, 0, 2, 7])])),
        judged("an IPv6 address that is a DNS name too", beside, named(&[ip(&v6), dns("2001:DB8::7")])),
        refused("an address as a DNS name beside another address", &[code::BAD_NAME], {
            named(&[dns(HOST), dns("192.0.2.7"), ip(&[192, 0, 2, 8])])
        }),
        judged("must-staple", beside, {
            leaf_with(|leaf| leaf.more = vec![extension("1.3.6.1.5.5.7.1.24", false, &sequence([number(5)]))])
        }),
    ]
}

fn purposes() -> Vec<Case> {
    let rsa = Key::shared(Kind::Rsa2048, 2);
    let of = |key: &Key, usage, purposes: &[&str]| {
        let mut leaf = Spec::leaf(HOST, key);
        leaf.key_usage = Some(key_usage(usage));
        leaf.extended_key_usage = Some(extended_key_usage(purposes));
        Bundle { leaf: leaf.signed_by(&pki().intermediate), ..leaf_of(key) }
    };
    let below = |purposes: &[&str]| {
        let mut issuing = intermediate();
        issuing.extended_key_usage = Some(extended_key_usage(purposes));
        let issuing = issuing.authority_by(intermediate_key(), &pki().root);
        let mut leaf = Spec::leaf(HOST, other_key());
        leaf.extended_key_usage = Some(extended_key_usage(&[SERVER_AUTH, CLIENT_AUTH]));
        Bundle { leaf: leaf.signed_by(&issuing), ..leaf_of(other_key()) }.with_others(&[&issuing.der, &pki().root.der])
    };
    vec![
        refused("EC that may only encipher keys", &[code::PURPOSE], of(leaf_key(), KEY_ENCIPHERMENT, &[SERVER_AUTH])),
        refused("EC that may only agree on keys", &[code::PURPOSE], of(leaf_key(), KEY_AGREEMENT, &[SERVER_AUTH])),
        refused("Ed25519 that may only encipher keys", &[code::PURPOSE], {
            of(Key::shared(Kind::Ed25519, 2), KEY_ENCIPHERMENT, &[SERVER_AUTH])
        }),
        imported("RSA that may only encipher keys, for servers", of(rsa, KEY_ENCIPHERMENT, &[SERVER_AUTH])),
        refused(
            "RSA that may only encipher keys, for clients",
            &[code::PURPOSE],
            of(rsa, KEY_ENCIPHERMENT, &[CLIENT_AUTH]),
        ),
        imported("RSA that signs, for clients", of(rsa, DIGITAL_SIGNATURE, &[CLIENT_AUTH])),
        imported("an issuer that leaves one purpose of two", below(&[CLIENT_AUTH])),
        refused("an issuer that leaves no purpose of two", &[code::PURPOSE], below(&[CODE_SIGNING])),
    ]
}
