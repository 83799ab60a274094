//! Names of every kind and form, where an issuer limits them, and where an issuer is found by them.

use time::Duration;

use super::certificate::{
    Aki, Spec, TODAY, alternative_names, common_name, dns, email, extension, identifier, ip, name, name_constraints,
};
use super::chains::constrained;
use super::der::{explicit, octets, oid, sequence, tlv};
use super::{
    Bundle, Case, Expected, HOST, code, imported, imported_without, intermediate_key, intermediate_with, judged,
    leaf_with, pki, refused,
};

const ORGANIZATION: &str = "2.5.4.10";
const MAIL: &str = "1.2.840.113549.1.9.1";

pub(super) fn cases() -> Vec<Case> {
    [extensions(), directories(), mail(), hosts(), issuers(), policies()].concat()
}

fn permitted(names: &[Vec<u8>], change: impl FnOnce(&mut Spec)) -> Bundle {
    constrained(name_constraints(names, &[]), change)
}

fn excluded(names: &[Vec<u8>], change: impl FnOnce(&mut Spec)) -> Bundle {
    constrained(name_constraints(&[], names), change)
}

fn extensions() -> Vec<Case> {
    let raw = |value: Vec<u8>| intermediate_with(|spec| spec.more = vec![extension("2.5.29.30", true, &value)]);
    let subtree = |base: Vec<u8>| sequence([base]);
    vec![
        refused("constraints that permit no subtree", &[code::MALFORMED_EXTENSION], raw(sequence([tlv(0xa0, &[])]))),
        refused("constraints that exclude no subtree beside a permitted one", &[code::MALFORMED_EXTENSION], {
            raw(sequence([tlv(0xa0, &subtree(dns("fleet.example"))), tlv(0xa1, &[])]))
        }),
        refused("constraints with a subtree without a base", &[code::MALFORMED_EXTENSION], {
            raw(sequence([tlv(0xa0, &sequence::<Vec<u8>>([]))]))
        }),
    ]
}

fn directories() -> Vec<Case> {
    let of = |tag, value: &'static [u8]| {
        move |leaf: &mut Spec| {
            leaf.subject = name(&[(ORGANIZATION, tlv(tag, value)), ("2.5.4.3", tlv(0x0c, HOST.as_bytes()))]);
        }
    };
    let directory = |tag, value: &[u8]| explicit(4, &name(&[(ORGANIZATION, tlv(tag, value))]));
    let wide = b"\0E\0x\0a\0m\0p\0l\0e";
    vec![
        imported("permitted: the organisation in other letters and another string", {
            permitted(&[directory(0x13, b"EXAMPLE")], of(0x1e, wide))
        }),
        refused("excluded: the organisation in other letters and another string", &[code::NAME_CONSTRAINTS], {
            excluded(&[directory(0x13, b"EXAMPLE")], of(0x1e, wide))
        }),
        refused("excluded: an organisation, and the leaf's cannot be read", &[code::NAME_CONSTRAINTS], {
            excluded(&[directory(0x0c, "Müller".as_bytes())], of(0x14, b"M\xfcller"))
        }),
        refused("permitted: an organisation that cannot be read", &[code::NAME_CONSTRAINTS], {
            permitted(&[directory(0x14, b"M\xfcller")], of(0x0c, b"Example"))
        }),
        imported("permitted: the same organisation, which cannot be read", {
            permitted(&[directory(0x14, b"M\xfcller")], of(0x14, b"M\xfcller"))
        }),
        refused("excluded: a directory name in the SAN", &[code::NAME_CONSTRAINTS], {
            excluded(&[directory(0x0c, b"Example")], |leaf| {
                leaf.names = Some(alternative_names(&[dns(HOST), directory(0x13, b"example")]));
            })
        }),
    ]
}

fn mail() -> Vec<Case> {
    let san = |address: &'static str| {
        move |leaf: &mut Spec| leaf.names = Some(alternative_names(&[dns(HOST), email(address)]))
    };
    let subject = |tag, address: &'static [u8]| {
        move |leaf: &mut Spec| {
            leaf.subject = name(&[("2.5.4.3", tlv(0x0c, HOST.as_bytes())), (MAIL, tlv(tag, address))]);
        }
    };
    let utf8_mailbox = |leaf: &mut Spec| {
        let value = [oid("1.3.6.1.5.5.7.8.9"), explicit(0, &tlv(0x0c, "ö@other.example".as_bytes()))].concat();
        leaf.names = Some(alternative_names(&[dns(HOST), tlv(0xa0, &value)]));
    };
    vec![
        imported("permitted: the host of a mail address", permitted(&[email("fleet.example")], san("a@fleet.example"))),
        refused("permitted: the host of another mail address", &[code::NAME_CONSTRAINTS], {
            permitted(&[email("fleet.example")], san("a@other.example"))
        }),
        refused("excluded: a mail address, and the leaf's is malformed", &[code::NAME_CONSTRAINTS], {
            excluded(&[email("other.example")], san("other.example"))
        }),
        refused("excluded: a mail address, and the leaf's is quoted", &[code::NAME_CONSTRAINTS], {
            excluded(&[email("a@fleet.example")], san("\"a\"@fleet.example"))
        }),
        refused("excluded: the host of a mail address with two signs", &[code::NAME_CONSTRAINTS], {
            excluded(&[email("a@b@other.example")], san("a@fleet.example"))
        }),
        refused("excluded: the mail address of the subject", &[code::NAME_CONSTRAINTS], {
            excluded(&[email("fleet.example")], subject(0x16, b"a@fleet.example"))
        }),
        refused("excluded: a mail address, and the subject's cannot be read", &[code::NAME_CONSTRAINTS], {
            excluded(&[email("other.example")], subject(0x14, b"\xfc@fleet.example"))
        }),
        refused("excluded: a mail address, and the leaf's is internationalized", &[code::NAME_CONSTRAINTS], {
            excluded(&[email("other.example")], utf8_mailbox)
        }),
        imported("an internationalized mail address without a constraint", {
            permitted(&[dns("fleet.example")], utf8_mailbox)
        }),
    ]
}

fn hosts() -> Vec<Case> {
    let addressed = |common: &'static str| {
        move |leaf: &mut Spec| {
            leaf.subject = common_name(common);
            leaf.names = Some(alternative_names(&[ip(&[192, 0, 2, 7])]));
        }
    };
    vec![
        refused("permitted: a domain, and the CN beside an address is another's", &[code::NAME_CONSTRAINTS], {
            permitted(&[dns("fleet.example")], addressed("bmc.other.example"))
        }),
        refused("excluded: the domain of the CN beside an address", &[code::NAME_CONSTRAINTS], {
            excluded(&[dns("other.example")], addressed("bmc.other.example"))
        }),
        imported("permitted: a domain, and the CN beside an address is in it", {
            permitted(&[dns("fleet.example")], addressed(HOST))
        }),
        imported("permitted: a domain, and the CN beside an address is no host", {
            permitted(&[dns("fleet.example")], addressed("Board 7, rack 12"))
        }),
        refused("permitted: a domain with a wildcard", &[code::NAME_CONSTRAINTS], {
            permitted(&[dns("*.fleet.example")], |_| {})
        }),
        refused("excluded: a domain with a dot at its end", &[code::NAME_CONSTRAINTS], {
            excluded(&[dns("other.example.")], |_| {})
        }),
        refused("excluded: names of services", &[code::NAME_CONSTRAINTS], {
            let service = tlv(0xa0, &[oid("1.3.6.1.5.5.7.8.7"), explicit(0, &tlv(0x16, b"_x.a.example"))].concat());
            excluded(std::slice::from_ref(&service), |leaf| {
                leaf.names = Some(alternative_names(&[dns(HOST), service.clone()]));
            })
        }),
    ]
}

fn issuers() -> Vec<Case> {
    // Two certificates of one authority and key: the AKI names the one that expires first.
    let older = {
        let mut spec = super::intermediate();
        (spec.serial, spec.not_after) = (vec![0x41], TODAY + Duration::days(30));
        spec.authority_by(intermediate_key(), &pki().root)
    };
    let named = |expired: bool| {
        let mut spec = super::intermediate();
        spec.serial = vec![0x41];
        spec.not_after = TODAY + Duration::days(if expired { -1 } else { 30 });
        let older = spec.authority_by(intermediate_key(), &pki().root);
        let aki = [
            tlv(0x80, &identifier(&intermediate_key().spki)),
            tlv(0xa1, &explicit(4, &common_name("Test Root"))),
            tlv(0x82, &[0x41]),
        ];
        let mut bundle = leaf_with(|leaf| {
            leaf.aki = Aki::None;
            leaf.more = vec![extension("2.5.29.35", false, &sequence(aki))];
        });
        bundle.others.insert(1, older.der);
        bundle
    };
    vec![
        imported_without("two issuers of one key, and the AKI names one", 1, named(false)),
        imported_without("two issuers of one key, and the one that the AKI names is expired", 1, named(true)),
        imported_without("two issuers of one key, and the AKI names neither", 1, {
            let mut bundle = leaf_with(|_| {});
            bundle.others.insert(1, older.der);
            bundle
        }),
        judged("names differ in spaces and in the type of a string", Expected::Imported { chain: 2, warnings: 1 }, {
            leaf_with(|leaf| leaf.issuer = Some(name(&[("2.5.4.3", tlv(0x13, b" Test  Issuing"))])))
        }),
    ]
}

fn policies() -> Vec<Case> {
    let policy = |critical, qualifier: &str, value: Vec<u8>| {
        let qualifier = sequence([oid(qualifier), value]);
        let policy = sequence([oid("2.23.140.1.2.1"), sequence([qualifier])]);
        leaf_with(move |leaf| leaf.more = vec![extension("2.5.29.32", critical, &sequence([policy]))])
    };
    let constraints = |critical| {
        intermediate_with(move |spec| spec.more = vec![extension("2.5.29.36", critical, &sequence([tlv(0x80, &[0])]))])
    };
    let address = || tlv(0x16, b"https://ca.example/cps");
    vec![
        imported("critical certificatePolicies with the address of a statement", {
            policy(true, "1.3.6.1.5.5.7.2.1", address())
        }),
        refused("critical certificatePolicies with an unknown qualifier", &[code::CRITICAL_EXTENSION], {
            policy(true, "1.3.6.1.4.1.99999.3", octets(b"?"))
        }),
        imported("certificatePolicies with an unknown qualifier", policy(false, "1.3.6.1.4.1.99999.3", octets(b"?"))),
        refused("critical policyConstraints", &[code::CRITICAL_EXTENSION], constraints(true)),
        imported("policyConstraints that are not critical", constraints(false)),
    ]
}
