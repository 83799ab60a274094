//! Private keys: their kind, their form, and the certificate they belong to.

use super::der::{NULL, bits, explicit, integer, number, octets, oid, sequence, tlv};
use super::key::{EC, Key, Kind, RSA, pem};
use super::{Case, code, imported, leaf_key, leaf_of, leaf_with, openssl, other_key, refused};

pub(super) fn cases() -> Vec<Case> {
    let with_key = |key: String| leaf_with(|_| {}).with_key(key);
    let (ec, rsa) = (leaf_key(), Key::shared(Kind::Rsa2048, 2));
    let rsa_with_key = |key: String| leaf_of(rsa).with_key(key);
    let parameters = pem("EC PARAMETERS", &oid(ec.curve_oid()));
    let sec1 = pem("EC PRIVATE KEY", &ec.sec1());
    vec![
        kind("P-384", Kind::P384),
        kind("P-521", Kind::P521),
        kind("Ed25519", Kind::Ed25519),
        kind("RSA 2048", Kind::Rsa2048),
        kind("RSA 3072", Kind::Rsa3072),
        kind("RSA 4096", Kind::Rsa4096),
        kind("ML-DSA-44", Kind::MlDsa44),
        kind("ML-DSA-65", Kind::MlDsa65),
        kind("ML-DSA-87", Kind::MlDsa87),
        imported("PKCS #1", rsa_with_key(pem("RSA PRIVATE KEY", &rsa.pkcs1()))),
        imported("SEC 1", with_key(sec1.clone())),
        imported("SEC 1 behind EC PARAMETERS, as OpenSSL writes it", with_key(format!("{parameters}{sec1}"))),
        imported("SEC 1 of P-384", {
            let key = Key::shared(Kind::P384, 2);
            leaf_of(key).with_key(pem("EC PRIVATE KEY", &key.sec1()))
        }),
        imported("Ed25519 with its public key (RFC 5958)", {
            let key = Key::shared(Kind::Ed25519, 2);
            let public = tlv(0x81, &[&[0], key.public()].concat());
            let algorithm = sequence([oid("1.3.101.112")]);
            leaf_of(key).with_key(pem("PRIVATE KEY", &sequence([number(1), algorithm, octets(key.inner()), public])))
        }),
        imported("PKCS #8 with an attribute", {
            let attribute = sequence([oid("2.5.4.3"), tlv(0x31, &tlv(0x0c, b"board"))]);
            let algorithm = sequence([oid(EC), oid(ec.curve_oid())]);
            with_key(pem("PRIVATE KEY", &sequence([number(0), algorithm, octets(ec.inner()), explicit(0, &attribute)])))
        }),
        imported("text around the key", with_key(format!("Bag Attributes\n  name: board\n{}\nbye\n", ec.pem()))),
        imported("lines of a key end in CR LF", with_key(ec.pem().replace('\n', "\r\n"))),
        // Refused forms and kinds.
        refused("encrypted PKCS #8", &[code::KEY_ENCRYPTED], with_key(openssl::encrypted(&ec.pem()))),
        refused("encrypted PKCS #1", &[code::KEY_ENCRYPTED], {
            rsa_with_key(openssl::encrypted_traditional("rsa", &rsa.pem()))
        }),
        refused("encrypted SEC 1", &[code::KEY_ENCRYPTED], {
            with_key(openssl::encrypted_traditional("ec", &ec.pem()))
        }),
        refused("another key of the same kind", &[code::KEY_MISMATCH], with_key(other_key().pem())),
        refused("another key of another kind", &[code::KEY_MISMATCH], with_key(rsa.pem())),
        refused("the issuer's key", &[code::KEY_MISMATCH], with_key(super::intermediate_key().pem())),
        refused("a key with somebody else's public key in it", &[code::KEY_UNREADABLE], {
            let key = sequence([number(1), octets(scalar(ec)), explicit(1, &bits(other_key().public()))]);
            with_key(pem("PRIVATE KEY", &pkcs8(EC, &oid(ec.curve_oid()), &key)))
        }),
        refused("another's scalar with the leaf's public key", &[code::KEY_UNREADABLE], {
            let key = sequence([number(1), octets(scalar(other_key())), explicit(1, &bits(ec.public()))]);
            with_key(pem("PRIVATE KEY", &pkcs8(EC, &oid(ec.curve_oid()), &key)))
        }),
        refused("a scalar of nought", &[code::KEY_UNREADABLE], {
            let key = sequence([number(1), octets(&[0; 32])]);
            with_key(pem("PRIVATE KEY", &pkcs8(EC, &oid(ec.curve_oid()), &key)))
        }),
        refused("1024 bits of RSA as the key", &[code::KEY_WEAK], with_key(Key::shared(Kind::Rsa1024, 2).pem())),
        refused("a key on secp256k1", &[code::KEY_UNSUPPORTED], with_key(Key::shared(Kind::Secp256k1, 2).pem())),
        refused("a key for key agreement only", &[code::KEY_UNSUPPORTED], {
            with_key(pem("PRIVATE KEY", &pkcs8("1.3.101.110", &[], &octets(&[9; 32]))))
        }),
        refused("a key of an algorithm that nobody knows", &[code::KEY_UNSUPPORTED], {
            with_key(pem("PRIVATE KEY", &pkcs8("1.3.6.1.4.1.99999.3", &[], &[1, 2, 3])))
        }),
        refused("RSA numbers that do not belong together", &[code::KEY_UNREADABLE], {
            let mut numbers: Vec<_> =
                super::der::read_all(super::der::read(rsa.inner()).0).iter().map(|n| integer(n)).collect();
            numbers.swap(4, 3);
            numbers[3] = numbers[4].clone();
            rsa_with_key(pem("PRIVATE KEY", &pkcs8(RSA, NULL, &sequence(numbers))))
        }),
        refused("no key at all", &[code::KEY_MISSING], with_key(String::new())),
        refused("a word in place of the key", &[code::KEY_FRAMING], with_key("secret".to_owned())),
        refused("the key's footer is missing", &[code::KEY_FRAMING], {
            with_key(ec.pem().replace("-----END PRIVATE KEY-----\n", ""))
        }),
        refused("header and footer of the key differ", &[code::KEY_FRAMING], {
            with_key(ec.pem().replace("END PRIVATE", "END EC PRIVATE"))
        }),
        refused("the key is not base64", &[code::KEY_UNREADABLE], {
            with_key("-----BEGIN PRIVATE KEY-----\n*&^%$#\n-----END PRIVATE KEY-----\n".to_owned())
        }),
        refused("nothing between header and footer of the key", &[code::KEY_MISSING], {
            with_key("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".to_owned())
        }),
        refused("bytes in place of a key", &[code::KEY_UNREADABLE], with_key(pem("PRIVATE KEY", b"not a key"))),
        refused("half a key", &[code::KEY_UNREADABLE], with_key(pem("PRIVATE KEY", &ec.pkcs8[..ec.pkcs8.len() / 2]))),
        refused(
            "bytes behind the key",
            &[code::KEY_UNREADABLE],
            with_key(pem("PRIVATE KEY", &[&ec.pkcs8[..], b"?"].concat())),
        ),
        imported("PKCS #8 of a curve that calls itself PKCS #1", with_key(pem("RSA PRIVATE KEY", &ec.pkcs8))),
        refused("a public key", &[code::NOT_A_KEY], with_key(pem("PUBLIC KEY", &ec.spki))),
        refused(
            "OpenSSH's format",
            &[code::KEY_UNSUPPORTED],
            with_key(pem("OPENSSH PRIVATE KEY", b"openssh-key-v1\0")),
        ),
        refused("the certificate in place of the key", &[code::CERTIFICATE_AS_KEY], {
            let bundle = leaf_with(|_| {});
            let text = pem("CERTIFICATE", &bundle.leaf);
            bundle.with_key(text)
        }),
        refused("two keys", &[code::SEVERAL_KEYS], with_key(ec.pem() + &other_key().pem())),
    ]
}

fn kind(name: &'static str, kind: Kind) -> Case {
    imported(name, leaf_of(Key::shared(kind, 2)))
}

fn pkcs8(algorithm: &str, parameters: &[u8], key: &[u8]) -> Vec<u8> {
    sequence([number(0), sequence([&oid(algorithm), parameters]), octets(key)])
}

/// The private scalar of a key on a curve.
fn scalar(key: &Key) -> &[u8] {
    super::der::read_all(super::der::read(key.inner()).0)[1]
}
