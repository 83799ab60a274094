//! Relatives of what people have (`found`): the same kinds of material, written by other tools or damaged elsewhere.

use super::certificate::{Signature, Spec, TODAY, alternative_names, common_name, dns, extension, ip, name};
use super::der::{explicit, number, octets, oid, read, read_all, sequence, tlv};
use super::key::{EC, Key, Kind, pem};
use super::pkcs12::{Mac, PASSWORD, bag, bags, protected};
use super::{
    Bundle, Case, Expected, HOST, Input, below, code, imported, intermediate, intermediate_key, judged, leaf_key,
    leaf_of, leaf_with, openssl, other_key, pki, refused, written,
};

pub(super) fn cases() -> Vec<Case> {
    [text(), beside(), keys(), pkcs12(), certificates(), authorities()].concat()
}

const WHOLE: Expected = Expected::Imported { chain: 2, warnings: 0 };
const FRAMING: Expected = Expected::Refused(&[code::CERTIFICATE_FRAMING]);

fn case(name: &'static str, expected: Expected, certificate: String) -> Case {
    let private_key = leaf_key().pem();
    written(name, expected, Input::Pem { certificate, certificate_chain: None, private_key })
}

fn text() -> Vec<Case> {
    let text = leaf_with(|_| {}).text();
    let joined = |between: &str| text.replace("-----\n-----BEGIN", &format!("-----{between}-----BEGIN"));
    let (leaf, chain) = text.split_at(text.find("-----END").unwrap() + "-----END CERTIFICATE-----\n".len());
    let wide: String = chain.chars().flat_map(|c| [c, '\0']).collect();
    let missing = Expected::Refused(&[code::CERTIFICATE_FRAMING, code::INCOMPLETE]);
    vec![
        case("footers and headers with a space between them", WHOLE, joined(" ")),
        case("footers and headers with a byte order mark between them", WHOLE, joined("\u{feff}")),
        case("footers and headers with a comma between them", FRAMING, joined(",")),
        case("a quotation mark before the first header", FRAMING, format!("\"{text}")),
        case("a byte order mark that was read as Latin-1", FRAMING, format!("ï»¿{text}")),
        case("each line quoted, as in a reply", FRAMING, text.lines().map(|line| format!("> {line}\n")).collect()),
        case("the first header lacks a dash", FRAMING, text[1..].to_owned()),
        case("dashes of a word processor", FRAMING, text.replace("-----", "—–")),
        case("a footer in the last line of its base64", FRAMING, text.replace("\n-----END", "-----END")),
        case("a chain in UTF-16 behind a leaf that is not", missing, format!("{leaf}{wide}")),
    ]
}

/// What OpenSSL passes over without a doubt.
fn beside() -> Vec<Case> {
    let parameters = pem("DH PARAMETERS", &sequence([number(23), number(5)]));
    let public = pem("PUBLIC KEY", &leaf_key().spki);
    let key = leaf_key().pem();
    let with_key = |name, key: String| imported(name, leaf_with(|_| {}).with_key(key));
    vec![
        case("DH PARAMETERS behind the certificates", WHOLE, leaf_with(|_| {}).text() + &parameters),
        case("PKCS #7 as a CERTIFICATE", Expected::Refused(&[code::CERTIFICATE_UNREADABLE]), {
            pem("CERTIFICATE", &sequence([oid("1.2.840.113549.1.7.2"), explicit(0, &sequence([number(1)]))]))
        }),
        case("TRUSTED CERTIFICATE", Expected::Refused(&[code::NOT_A_CERTIFICATE]), {
            leaf_with(|_| {}).text().replacen("CERTIFICATE", "TRUSTED CERTIFICATE", 2)
        }),
        with_key("DH PARAMETERS before the key", format!("{parameters}{key}")),
        with_key("the public key before the private one", format!("{public}{key}")),
    ]
}

fn keys() -> Vec<Case> {
    let (ec, rsa) = (leaf_key(), Key::shared(Kind::Rsa2048, 2));
    let algorithm = || sequence([oid(EC), oid(ec.curve_oid())]);
    let with = |parts: &[Vec<u8>]| leaf_of(ec).with_key(pem("PRIVATE KEY", &sequence(parts)));
    let scalar = read_all(read(ec.inner()).0)[1];
    let compressed = [&[0, 2 + (ec.public()[64] & 1)], &ec.public()[1..33]].concat();
    vec![
        imported("PKCS #8 of version 2 without a public key", with(&[number(1), algorithm(), octets(ec.inner())])),
        imported("PKCS #8 with a compressed point outside of the key", {
            with(&[number(1), algorithm(), octets(ec.inner()), tlv(0x81, &compressed)])
        }),
        imported("PKCS #8 of RSA that calls itself PKCS #1", {
            leaf_of(rsa).with_key(pem("RSA PRIVATE KEY", &rsa.pkcs8))
        }),
        imported("PKCS #1 that calls itself PKCS #8", leaf_of(rsa).with_key(pem("PRIVATE KEY", &rsa.pkcs1()))),
        imported("SEC 1 that calls itself PKCS #8", leaf_of(ec).with_key(pem("PRIVATE KEY", &ec.sec1()))),
        refused("an encrypted key that calls itself unencrypted", &[code::KEY_ENCRYPTED], {
            leaf_of(ec).with_key(pem("PRIVATE KEY", ::pem::parse(openssl::encrypted(&ec.pem())).unwrap().contents()))
        }),
        refused("a scalar with two zeros in front", &[code::KEY_UNREADABLE], {
            let long = sequence([number(1), octets(&[&[0, 0], scalar].concat())]);
            with(&[number(0), algorithm(), octets(&long)])
        }),
        refused("explicit parameters within a key of a named curve", &[code::KEY_UNSUPPORTED], {
            let options = ["ec", "-param_enc", "explicit", "-outform", "DER"];
            let inner = openssl::run(&options, ec.pem().as_bytes());
            with(&[number(0), algorithm(), octets(&inner)])
        }),
        case_of_key("the root's key beside certificates in one field", super::root_key().pem()),
    ]
}

fn case_of_key(name: &'static str, private_key: String) -> Case {
    let certificate = leaf_with(|_| {}).text();
    let input = Input::Pem { certificate, certificate_chain: None, private_key };
    written(name, Expected::Refused(&[code::KEY_MISMATCH]), input)
}

fn pkcs12() -> Vec<Case> {
    let bundle = leaf_with(|_| {});
    let ders: Vec<&[u8]> = std::iter::once(&bundle.leaf).chain(&bundle.others).map(Vec::as_slice).collect();
    let case =
        |name, expected, der: Vec<u8>| written(name, expected, Input::Pkcs12 { der, password: PASSWORD.to_owned() });
    let unreadable = Expected::Refused(&[code::PKCS12_UNREADABLE]);
    let with = |more: &[Vec<u8>], keys: &[&Key]| {
        let ordinary = bags(keys, &ders);
        protected(&sequence([&more.concat(), read(&ordinary).0]), Mac::Good(1), <[u8]>::to_vec)
    };
    let shrouded = |key: &Key, options: &[&str], password: &str| {
        let password = format!("pass:{password}");
        let options = [&["pkcs8", "-topk8", "-outform", "DER", "-passout", &password], options].concat();
        bag("1.2.840.113549.1.12.10.1.2", &openssl::run(&options, key.pem().as_bytes()))
    };
    let own_password = shrouded(other_key(), &["-v2", "aes-256-cbc"], "another");
    vec![
        case("PKCS #12 with a bag of a kind that is not known", WHOLE, {
            with(&[bag("1.3.6.1.4.1.99999.4", &octets(b"?"))], &[leaf_key()])
        }),
        case("PKCS #12 with bytes behind it", WHOLE, [with(&[], &[leaf_key()]), b"\n\0\0".to_vec()].concat()),
        case("PKCS #12 with another key under a password of its own", WHOLE, {
            with(std::slice::from_ref(&own_password), &[leaf_key()])
        }),
        case("PKCS #12 with another key under triple DES", WHOLE, {
            let key = shrouded(other_key(), &["-v1", "PBE-SHA1-3DES"], PASSWORD);
            with(&[key], &[leaf_key()])
        }),
        case("PKCS #12 whose only key has a password of its own", unreadable, with(&[own_password], &[])),
        case("PKCS #12 of version 4", unreadable, {
            let der = with(&[], &[leaf_key()]);
            let parts = read_all(read(&der).0);
            sequence([number(4), tlv(0x30, parts[1]), tlv(0x30, parts[2])])
        }),
        case("a Java keystore in place of PKCS #12", unreadable, b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01".to_vec()),
    ]
}

fn certificates() -> Vec<Case> {
    let dates = |tag, text: &[&str; 2]| text.iter().flat_map(|text| tlv(tag, text.as_bytes())).collect::<Vec<_>>();
    let dated = |tag, text| leaf_with(|leaf| leaf.dates = Some(dates(tag, text)));
    let serial = |content: [u8; 2]| {
        let mut bundle = leaf_with(|leaf| leaf.serial = vec![0x55; 16]);
        let at = bundle.leaf.windows(4).position(|part| part == [2, 16, 0x55, 0x55]).unwrap();
        bundle.leaf[at + 2..at + 4].copy_from_slice(&content);
        bundle
    };
    let critical = |dotted: &str, value: &[u8]| {
        let made = extension(dotted, true, value);
        leaf_with(|leaf| (leaf.ski, leaf.more) = (None, vec![made]))
    };
    let unreadable = &[code::CERTIFICATE_UNREADABLE];
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    vec![
        refused("a thirteenth month", unreadable, dated(0x17, &["261301000000Z", "280101000000Z"])),
        refused("GeneralizedTime without Z", unreadable, dated(0x18, &["20260101000000", "20280101000000"])),
        refused("a date as PrintableString", unreadable, dated(0x13, &["260101000000Z", "280101000000Z"])),
        refused("a serial number with a surplus octet", unreadable, serial([0, 1])),
        refused("a negative serial number with a surplus octet", unreadable, serial([0xff, 0xff])),
        imported("a serial number of twenty-one octets", leaf_with(|leaf| leaf.serial = vec![0x7f; 21])),
        imported("critical cRLDistributionPoints", {
            let point = tlv(0xa0, &tlv(0xa0, &tlv(0x86, b"http://crl.example/a.crl")));
            critical("2.5.29.31", &sequence([sequence([point])]))
        }),
        refused("a critical SKI", &[code::CRITICAL_EXTENSION], critical("2.5.29.14", &octets(&[7; 20]))),
        judged("an IPv6 address in brackets as a DNS name too", Expected::Imported { chain: 2, warnings: 1 }, {
            leaf_with(|leaf| leaf.names = Some(alternative_names(&[dns(HOST), dns("[2001:db8::7]"), ip(&v6)])))
        }),
    ]
}

fn authorities() -> Vec<Case> {
    let one = Expected::Imported { chain: 2, warnings: 1 };
    let rsa = Key::shared(Kind::Rsa2048, 4);
    let old = |algorithm: &str, sign: fn(&Key, &[u8]) -> Vec<u8>| {
        let mut root = Spec::authority("Old Root", rsa);
        root.signature = Signature::Other(sequence([oid(algorithm), super::der::NULL.to_vec()]), sign);
        let root = root.self_signed(rsa);
        below(&[&intermediate().authority_by(intermediate_key(), &root), &root])
    };
    let named = |tag, text: &[u8], by_leaf: Vec<u8>| {
        let mut issuing = intermediate();
        issuing.subject = name(&[("2.5.4.3", tlv(tag, text))]);
        let issuing = issuing.authority_by(intermediate_key(), &pki().root);
        let mut leaf = Spec::leaf(HOST, leaf_key());
        leaf.issuer = Some(by_leaf);
        let leaf = leaf.signed_by(&issuing);
        Bundle { leaf, ..leaf_with(|_| {}) }.with_others(&[&issuing.der, &pki().root.der])
    };
    // OpenSSL does not load such a certificate.
    let unread = |title, tag, text: &[u8]| {
        refused(title, &[code::CERTIFICATE_UNREADABLE], named(tag, text, common_name("Müller")))
    };
    let wide: Vec<u8> = "Müller".encode_utf16().flat_map(u16::to_be_bytes).collect();
    vec![
        judged("root that signed itself with MD5", one, {
            old("1.2.840.113549.1.1.4", |key, tbs| openssl::sign(&key.pem(), "md5", tbs))
        }),
        judged("root that signed itself with SHA-224", one, {
            old("1.2.840.113549.1.1.14", |key, tbs| openssl::sign(&key.pem(), "sha224", tbs))
        }),
        judged(
            "TeletexString in the issuer, UTF8String in the leaf",
            one,
            named(0x14, b"M\xfcller", common_name("Müller")),
        ),
        judged("BMPString in the issuer, UTF8String in the leaf", one, named(0x1e, &wide, common_name("Müller"))),
        unread("Latin-1 in UTF8String", 0x0c, b"M\xfcller"),
        unread("half a character in BMPString", 0x1e, b"\0M\0"),
        unread("a character of two parts in BMPString", 0x1e, b"\xd8\x3d\xdd\x11"),
        unread("VisibleString in a name", 0x1a, b"Miller"),
        refused(
            "another TeletexString in the issuer",
            &[code::ISSUER_NAME],
            named(0x14, b"M\xf6ller", common_name("Müller")),
        ),
        refused("an expired root as the only end", &[code::EXPIRED], {
            super::root_with(|root| root.not_after = TODAY - time::Duration::DAY)
        }),
    ]
}
