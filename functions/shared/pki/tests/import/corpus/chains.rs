//! Each link from the leaf to a root, and the choice of certificates for the chain.

use time::Duration;

use super::certificate::{
    Aki, Authority, CLIENT_AUTH, CODE_SIGNING, CRL_SIGN, DIGITAL_SIGNATURE, KEY_CERT_SIGN, SERVER_AUTH, Signature,
    Spec, TODAY, alternative_names, basic_constraints, common_name, dns, email, extended_key_usage, extension, ip,
    key_usage, name, name_constraints,
};
use super::der::{NULL, explicit, octets, oid, sequence, tlv};
use super::key::{Key, Kind};
use super::{
    Bundle, Case, Expected, HOST, below, code, imported, imported_without, intermediate, intermediate_key,
    intermediate_with, judged, leaf_key, leaf_with, openssl, other_key, pki, refused, root_key, root_with,
};

pub(super) fn cases() -> Vec<Case> {
    [paths(), authorities(), constraints()].concat()
}

fn paths() -> Vec<Case> {
    let (root, intermediate) = (&pki().root, &pki().intermediate);
    let whole = || leaf_with(|_| {});
    let directly = || below(&[root]);
    let other_root = Spec::authority("Other Root", other_key()).self_signed(other_key());
    let cross = super::intermediate().authority_by(intermediate_key(), &other_root);
    let root_by_other = Spec::authority("Test Root", root_key()).authority_by(root_key(), &other_root);
    let expired_root = {
        let mut expired = Spec::authority("Other Root", other_key());
        (expired.not_before, expired.not_after) = (TODAY - Duration::days(9000), TODAY - Duration::days(100));
        expired.self_signed(other_key())
    };
    let root_by_expired = Spec::authority("Test Root", root_key()).authority_by(root_key(), &expired_root);
    let impostor = Spec::authority("Test Issuing", other_key()).authority_by(other_key(), root);
    let stale = {
        let mut stale = super::intermediate();
        (stale.not_before, stale.not_after) = (TODAY - Duration::days(900), TODAY - Duration::days(100));
        stale.authority_by(intermediate_key(), root)
    };
    let unrelated_leaf = Spec::leaf("other.example", other_key()).signed_by(root);
    let der = |authority: &Authority| authority.der.clone();
    vec![
        imported("root first, intermediate second", whole().with_others(&[&root.der, &intermediate.der])),
        imported("a root issued it directly", directly()),
        imported("own root, not sent", directly().with_others(&[]).with_own_roots(&[&root.der])),
        imported("own root, sent as well", directly().with_own_roots(&[&root.der])),
        imported(
            "intermediate below an own root that is not sent",
            whole().with_others(&[&intermediate.der]).with_own_roots(&[&other_root.der, &root.der]),
        ),
        imported(
            "own issuing authority, not sent",
            whole().with_others(&[]).with_own_roots(&[&intermediate.der, &root.der]),
        ),
        imported(
            "own issuing authority, sent, its root not",
            whole().with_others(&[&intermediate.der]).with_own_roots(&[&root.der, &intermediate.der]),
        ),
        refused(
            "own issuing authority whose root is ours no more",
            &[code::INCOMPLETE],
            whole().with_others(&[]).with_own_roots(&[&intermediate.der]),
        ),
        refused("the leaf alone", &[code::INCOMPLETE], whole().with_others(&[])),
        refused("the root is missing", &[code::INCOMPLETE], whole().with_others(&[&intermediate.der])),
        refused("the intermediate is missing", &[code::INCOMPLETE], whole().with_others(&[&root.der])),
        refused(
            "an own root of another name",
            &[code::INCOMPLETE],
            directly().with_others(&[]).with_own_roots(&[&other_root.der]),
        ),
        refused("self-signed leaf, alone", &[code::SELF_SIGNED], {
            let leaf = Spec::leaf(HOST, leaf_key()).self_signed(leaf_key()).der;
            Bundle { leaf, others: vec![], own_roots: vec![], key: leaf_key().pem() }
        }),
        refused(
            "issuer is the subject of no certificate that is sent",
            &[code::ISSUER_NAME],
            leaf_with(|leaf| leaf.issuer = Some(common_name("Somebody Else"))),
        ),
        refused(
            "intermediate names another issuer",
            &[code::ISSUER_NAME],
            intermediate_with(|spec| spec.issuer = Some(common_name("Somebody Else"))),
        ),
        judged("the intermediate twice", Expected::Imported { chain: 2, warnings: 0 }, {
            whole().with_others(&[&intermediate.der, &intermediate.der, &root.der])
        }),
        imported_without("a root that has nothing to do with it", 1, {
            whole().with_others(&[&other_root.der, &intermediate.der, &root.der])
        }),
        imported_without("a leaf that has nothing to do with it", 1, {
            whole().with_others(&[&intermediate.der, &unrelated_leaf, &root.der])
        }),
        imported_without("cross-signed intermediate, both roots", 2, {
            whole().with_others(&[&cross.der, &intermediate.der, &other_root.der, &root.der])
        }),
        imported_without("cross-signed intermediate, only the second leads to a root", 1, {
            whole().with_others(&[&intermediate.der, &cross.der, &other_root.der])
        }),
        imported("cross-signed root below another root", {
            whole().with_others(&[&intermediate.der, &root_by_other.der, &other_root.der])
        }),
        imported_without("cross-signed root, and the root itself", 1, {
            whole().with_others(&[&intermediate.der, &root_by_other.der, &root.der])
        }),
        refused("cross-signed root, only below a root that expired", &[code::EXPIRED], {
            whole().with_others(&[&intermediate.der, &root_by_expired.der, &expired_root.der])
        }),
        imported_without("cross-signed root below a root that expired, the root itself is known", 2, {
            let sent = whole().with_others(&[&intermediate.der, &root_by_expired.der, &expired_root.der]);
            sent.with_own_roots(&[&root.der])
        }),
        imported_without("an older intermediate of the same key, which expired", 1, {
            whole().with_others(&[&stale.der, &intermediate.der, &root.der])
        }),
        imported_without("another intermediate of the same name with another key", 1, {
            whole().with_others(&[&impostor.der, &intermediate.der, &root.der])
        }),
        refused("two authorities that signed each other", &[code::INCOMPLETE], {
            let one = super::intermediate().authority_by(intermediate_key(), &other_root);
            let two = Spec::authority("Other Root", other_key()).authority_by(other_key(), &one);
            below(&[&one, &two])
        }),
        imported("the whole chain of eight", chain(6)),
        imported("RSA above P-384 above P-256", {
            let (rsa, p384) = (Key::shared(Kind::Rsa2048, 0), Key::shared(Kind::P384, 0));
            let root = Spec::authority("Test Root", rsa).self_signed(rsa);
            let issuing = Spec::authority("Test Issuing", p384).authority_by(p384, &root);
            below(&[&issuing, &root])
        }),
        imported("P-521 above Ed25519 above P-256", {
            let (p521, ed25519) = (Key::shared(Kind::P521, 0), Key::shared(Kind::Ed25519, 0));
            let root = Spec::authority("Test Root", p521).self_signed(p521);
            let issuing = Spec::authority("Test Issuing", ed25519).authority_by(ed25519, &root);
            below(&[&issuing, &root])
        }),
        refused(
            "the root's own signature is broken",
            &[code::SIGNATURE],
            root_with(|root| root.signature = Signature::Broken),
        ),
        refused("the intermediate's signature is broken", &[code::SIGNATURE], {
            intermediate_with(|spec| spec.signature = Signature::Broken)
        }),
        imported("two certificates in the chain have one serial number", {
            intermediate_with(|spec| spec.serial = Spec::leaf(HOST, leaf_key()).serial)
        }),
        judged("names differ in case only", Expected::Imported { chain: 2, warnings: 1 }, {
            leaf_with(|leaf| leaf.issuer = Some(common_name("TEST ISSUING")))
        }),
        refused("a leaf issued it", &[code::NOT_AN_AUTHORITY], {
            let middle = Spec::leaf("middle.example", other_key()).authority_by(other_key(), intermediate);
            let leaf = Spec::leaf(HOST, leaf_key()).signed_by(&middle);
            Bundle {
                leaf,
                others: vec![middle.der, der(intermediate), der(root)],
                own_roots: vec![],
                key: leaf_key().pem(),
            }
        }),
    ]
}

fn authorities() -> Vec<Case> {
    let weak = Key::shared(Kind::Rsa1024, 1);
    let rsa = Key::shared(Kind::Rsa2048, 0);
    let sha1 = || {
        let algorithm = sequence([&oid("1.2.840.113549.1.1.5"), NULL]);
        Signature::Other(algorithm, |key, tbs| openssl::sign(&key.pem(), "sha1", tbs))
    };
    vec![
        refused("intermediate expired", &[code::EXPIRED], {
            intermediate_with(|spec| spec.not_after = TODAY - Duration::SECOND)
        }),
        refused("intermediate not yet valid", &[code::NOT_YET_VALID], {
            intermediate_with(|spec| spec.not_before = TODAY + Duration::SECOND)
        }),
        refused("root expired", &[code::EXPIRED], root_with(|root| root.not_after = TODAY - Duration::SECOND)),
        imported("leaf outlives its issuer", leaf_with(|leaf| leaf.not_after = TODAY + Duration::days(4000))),
        refused("intermediate without basicConstraints", &[code::NOT_AN_AUTHORITY], {
            intermediate_with(|spec| spec.basic_constraints = None)
        }),
        refused("intermediate that is no authority", &[code::NOT_AN_AUTHORITY], {
            intermediate_with(|spec| {
                spec.basic_constraints = Some(extension("2.5.29.19", true, &sequence::<Vec<u8>>([])))
            })
        }),
        refused(
            "root without basicConstraints",
            &[code::NOT_AN_AUTHORITY],
            root_with(|root| root.basic_constraints = None),
        ),
        refused(
            "intermediate of X.509 version 1",
            &[code::VERSION, code::NOT_AN_AUTHORITY],
            intermediate_with(|spec| spec.version = 0),
        ),
        imported("basicConstraints not critical", {
            intermediate_with(|spec| {
                let value = sequence([super::der::BOOLEAN_TRUE]);
                spec.basic_constraints = Some(extension("2.5.29.19", false, &value));
            })
        }),
        imported("pathLen just enough", {
            let root = Spec {
                basic_constraints: Some(basic_constraints(Some(1))),
                ..Spec::authority("Test Root", root_key())
            }
            .self_signed(root_key());
            let issuing = Spec { basic_constraints: Some(basic_constraints(Some(0))), ..intermediate() }
                .authority_by(intermediate_key(), &root);
            below(&[&issuing, &root])
        }),
        refused("pathLen 0 above an intermediate", &[code::PATH_LENGTH], {
            root_with(|root| root.basic_constraints = Some(basic_constraints(Some(0))))
        }),
        refused("pathLen of an own root", &[code::PATH_LENGTH], {
            let mut bundle = root_with(|root| root.basic_constraints = Some(basic_constraints(Some(0))));
            bundle.own_roots = vec![bundle.others.pop().unwrap()];
            bundle
        }),
        imported("pathLen 0 above a self-issued certificate, which does not count", {
            let root = Spec {
                basic_constraints: Some(basic_constraints(Some(0))),
                ..Spec::authority("Test Root", root_key())
            }
            .self_signed(root_key());
            let renewed = Spec::authority("Test Root", other_key()).authority_by(other_key(), &root);
            below(&[&renewed, &root])
        }),
        refused("intermediate may not sign certificates", &[code::NOT_AN_AUTHORITY], {
            intermediate_with(|spec| spec.key_usage = Some(key_usage(DIGITAL_SIGNATURE | CRL_SIGN)))
        }),
        refused("root may not sign certificates", &[code::NOT_AN_AUTHORITY], {
            root_with(|root| root.key_usage = Some(key_usage(CRL_SIGN)))
        }),
        imported("intermediate without keyUsage", intermediate_with(|spec| spec.key_usage = None)),
        imported("intermediate whose key may sign anything", {
            intermediate_with(|spec| spec.key_usage = Some(key_usage(KEY_CERT_SIGN | CRL_SIGN | DIGITAL_SIGNATURE)))
        }),
        imported("intermediate for servers", {
            intermediate_with(|spec| spec.extended_key_usage = Some(extended_key_usage(&[SERVER_AUTH])))
        }),
        refused("intermediate for clients only", &[code::PURPOSE], {
            intermediate_with(|spec| spec.extended_key_usage = Some(extended_key_usage(&[CLIENT_AUTH])))
        }),
        refused("intermediate that signs code", &[code::PURPOSE], {
            intermediate_with(|spec| spec.extended_key_usage = Some(extended_key_usage(&[CODE_SIGNING])))
        }),
        refused("intermediate with another AKI", &[code::KEY_IDENTIFIER], {
            intermediate_with(|spec| spec.aki = Aki::Other(vec![7; 20]))
        }),
        imported("root without AKI", root_with(|root| root.aki = Aki::None)),
        imported("authorities without SKI", {
            let root = Spec { ski: None, ..Spec::authority("Test Root", root_key()) }.self_signed(root_key());
            let issuing = Spec { ski: None, ..intermediate() }.authority_by(intermediate_key(), &root);
            below(&[&issuing, &root])
        }),
        refused("intermediate with a critical extension that nobody knows", &[code::CRITICAL_EXTENSION], {
            intermediate_with(|spec| spec.more = vec![extension("1.3.6.1.4.1.99999.1", true, NULL)])
        }),
        refused("intermediate with an extension twice", &[code::DUPLICATE_EXTENSION], {
            intermediate_with(|spec| spec.more = vec![spec.key_usage.clone().unwrap()])
        }),
        refused("intermediate signed with SHA-1", &[code::WEAK_SIGNATURE], {
            let root = Spec::authority("Test Root", rsa).self_signed(rsa);
            let issuing = Spec { signature: sha1(), ..intermediate() }.authority_by(intermediate_key(), &root);
            below(&[&issuing, &root])
        }),
        judged("root signed with SHA-1, which nobody relies on", Expected::Imported { chain: 2, warnings: 1 }, {
            let root = Spec { signature: sha1(), ..Spec::authority("Test Root", rsa) }.self_signed(rsa);
            below(&[&intermediate().authority_by(intermediate_key(), &root), &root])
        }),
        refused("root with 1024 bits of RSA", &[code::WEAK_KEY], {
            let root = Spec::authority("Test Root", weak).self_signed(weak);
            below(&[&intermediate().authority_by(intermediate_key(), &root), &root])
        }),
        refused("intermediate with 1024 bits of RSA", &[code::WEAK_KEY], {
            below(&[&Spec::authority("Test Issuing", weak).authority_by(weak, &pki().root), &pki().root])
        }),
        refused("leaf and intermediate both expired", &[code::EXPIRED, code::EXPIRED], {
            let ended = |mut spec: Spec| {
                spec.not_after = TODAY - Duration::DAY;
                spec
            };
            let issuing = ended(intermediate()).authority_by(intermediate_key(), &pki().root);
            let mut bundle = below(&[&issuing, &pki().root]);
            bundle.leaf = ended(Spec::leaf(HOST, leaf_key())).signed_by(&issuing);
            bundle
        }),
    ]
}

fn constraints() -> Vec<Case> {
    let permitted = |names: &[Vec<u8>]| constrained(name_constraints(names, &[]), |_| {});
    let excluded = |names: &[Vec<u8>]| constrained(name_constraints(&[], names), |_| {});
    let address = |leaf: &mut Spec| leaf.names = Some(alternative_names(&[dns(HOST), ip(&[192, 0, 2, 7])]));
    let subnet = ip(&[192, 0, 2, 0, 255, 255, 255, 0]);
    let elsewhere = ip(&[198, 51, 100, 0, 255, 255, 255, 0]);
    let organization = |value: &str| ("2.5.4.10", tlv(0x0c, value.as_bytes()));
    let of_example = move |leaf: &mut Spec| {
        leaf.subject = name(&[organization("Example"), ("2.5.4.3", tlv(0x0c, HOST.as_bytes()))]);
    };
    let directory = |value| explicit(4, &name(&[organization(value)]));
    let only_cn = |leaf: &mut Spec| leaf.names = None;
    vec![
        imported("permitted: the domain of the name", permitted(&[dns("fleet.example")])),
        imported("permitted: the name itself", permitted(&[dns(HOST)])),
        imported("permitted: everything", permitted(&[dns("")])),
        refused("permitted: another domain", &[code::NAME_CONSTRAINTS], permitted(&[dns("other.example")])),
        refused(
            "permitted: a domain that only ends alike",
            &[code::NAME_CONSTRAINTS],
            permitted(&[dns("eet.example")]),
        ),
        imported("permitted: another domain in other letters", permitted(&[dns("FLEET.Example")])),
        imported("excluded: another domain", excluded(&[dns("other.example")])),
        refused("excluded: the domain of the name", &[code::NAME_CONSTRAINTS], excluded(&[dns("fleet.example")])),
        refused("excluded: the name below a permitted domain", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(&[dns("fleet.example")], &[dns(HOST)]), |_| {})
        }),
        refused("excluded: what a wildcard covers", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(&[], &[dns(HOST)]), |leaf| {
                leaf.names = Some(alternative_names(&[dns("*.fleet.example")]));
            })
        }),
        refused("one of two names is outside", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(&[dns("fleet.example")], &[]), |leaf| {
                leaf.names = Some(alternative_names(&[dns(HOST), dns("bmc.other.example")]));
            })
        }),
        imported("permitted: the subnet of the address", {
            constrained(name_constraints(&[dns("fleet.example"), subnet.clone()], &[]), address)
        }),
        refused("permitted: another subnet", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(std::slice::from_ref(&elsewhere), &[]), address)
        }),
        refused("excluded: the subnet of the address", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(&[], &[subnet]), address)
        }),
        imported("permitted: a subnet, and there is no address", permitted(&[elsewhere])),
        imported("permitted: e-mail addresses, and there is none", permitted(&[email("example.com")])),
        imported(
            "permitted: the organisation of the subject",
            constrained(name_constraints(&[directory("Example")], &[]), of_example),
        ),
        refused("permitted: another organisation", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(&[directory("Somebody")], &[]), of_example)
        }),
        refused("excluded: the organisation of the subject", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(&[], &[directory("Example")]), of_example)
        }),
        refused("only a CN, and it is outside", &[code::NAME_CONSTRAINTS], {
            constrained(name_constraints(&[dns("other.example")], &[]), only_cn)
        }),
        imported("only a CN, and it is inside", constrained(name_constraints(&[dns("fleet.example")], &[]), only_cn)),
        refused("constraints of the root", &[code::NAME_CONSTRAINTS], {
            root_with(|root| root.more = vec![name_constraints(&[dns("other.example")], &[])])
        }),
        refused("constraints of the root, which permits less than the intermediate", &[code::NAME_CONSTRAINTS], {
            let mut root = Spec::authority("Test Root", root_key());
            root.more = vec![name_constraints(&[dns("other.example")], &[])];
            let root = root.self_signed(root_key());
            let mut issuing = intermediate();
            issuing.more = vec![name_constraints(&[dns("example")], &[])];
            below(&[&issuing.authority_by(intermediate_key(), &root), &root])
        }),
        refused("constraints that cannot be read", &[code::MALFORMED_EXTENSION], {
            intermediate_with(|spec| spec.more = vec![extension("2.5.29.30", true, &octets(b"?"))])
        }),
    ]
}

/// The intermediate has these constraints; `change` gives the leaf the names that they apply to.
pub(super) fn constrained(constraints: Vec<u8>, change: impl FnOnce(&mut Spec)) -> Bundle {
    let issuing = Spec { more: vec![constraints], ..intermediate() }.authority_by(intermediate_key(), &pki().root);
    let mut leaf = Spec::leaf(HOST, leaf_key());
    change(&mut leaf);
    let mut bundle = below(&[&issuing, &pki().root]);
    bundle.leaf = leaf.signed_by(&issuing);
    bundle
}

/// A chain with this many authorities between root and leaf, with two keys in turn.
pub(crate) fn chain(intermediates: usize) -> Bundle {
    let mut authorities = vec![pki().root.clone()];
    for number in 0..intermediates {
        let key = if number % 2 == 0 { intermediate_key() } else { other_key() };
        let next = Spec::authority(&format!("Issuing {number}"), key).authority_by(key, &authorities[0]);
        authorities.insert(0, next);
    }
    below(&authorities.iter().collect::<Vec<_>>())
}
