#![allow(clippy::unwrap_used, reason = "a test's inputs are its own")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const DN: &str = r"\VED\Policy\Devices\Rack-1\certificate";

fn policy(rules: Value) -> Result<IssuancePolicy, String> {
    serde_json::from_value(json!({ "rules": rules })).map_err(|error| error.to_string())
}

/// With a rule for all devices.
fn ruled(mut rule: Value) -> IssuancePolicy {
    rule["prefix"] = json!(r"\VED\Policy\Devices");
    policy(json!([rule])).unwrap()
}

fn checked(policy: &IssuancePolicy, host: &str, subject: Value) -> Result<Option<Duration>, NotPermitted> {
    let host = Host::parse(host).unwrap();
    let subject = serde_json::from_value(subject).unwrap();
    policy.check(Wanted { dn: DN, host: &host, subject: &subject })
}

fn refused(policy: &IssuancePolicy, host: &str, subject: Value) -> Unpermitted {
    checked(policy, host, subject).unwrap_err().what
}

fn server_named(name: &str) -> Value {
    json!({ "commonName": "Rack 1", "dnsNames": [name] })
}

fn server_at(address: &str) -> Value {
    json!({ "commonName": "Rack 1", "ipAddresses": [address] })
}

#[test]
fn without_a_rule_a_device_has_its_host_only() {
    let none = IssuancePolicy::default();
    for (host, subject) in [
        ("bmc.example", json!({ "commonName": "bmc.example", "dnsNames": ["bmc.example"] })),
        ("BMC.example.", json!({ "commonName": "BMC.Example.", "dnsNames": ["BMC.Example"] })),
        ("b\u{fc}cher.example", server_named("xn--bcher-kva.example")),
        ("10.0.0.7", json!({ "commonName": "10.0.0.7", "ipAddresses": ["10.0.0.7", "::ffff:10.0.0.7"] })),
        ("[::ffff:10.0.0.7]", server_at("10.0.0.7")),
        ("[2001:db8::7]", json!({ "commonName": "2001:DB8:0::7", "ipAddresses": ["2001:db8::7"] })),
    ] {
        assert_eq!(checked(&none, host, subject.clone()), Ok(None), "{host} {subject}");
    }
    let own = |field: &str, value: Value| {
        let mut subject = json!({ "commonName": "bmc.example", "dnsNames": ["bmc.example"] });
        subject[field] = value;
        refused(&none, "bmc.example", subject)
    };
    let name = |name: &str| Unpermitted::Name(name.to_owned());
    assert_eq!(own("dnsNames", json!(["bmc.example", "pay.example"])), name("pay.example"));
    assert_eq!(own("dnsNames", json!(["a.bmc.example"])), name("a.bmc.example"));
    assert_eq!(own("dnsNames", json!(["*.bmc.example"])), name("*.bmc.example"));
    assert_eq!(own("ipAddresses", json!(["10.0.0.7"])), name("10.0.0.7"));
    assert_eq!(own("clientAuth", json!(true)), Unpermitted::Usage(Usage::Client));
    assert_eq!(own("attributes", json!("O=Example")), Unpermitted::Attributes("O=Example".to_owned()));
    for common in
        ["pay.example", "PAY.example.", "pay", "*.example", "f*.example", "pay\u{3002}example", "10.0.0.7", "0x0a.7"]
    {
        assert_eq!(own("commonName", json!(common)), Unpermitted::CommonName(common.to_owned()));
    }
}

#[test]
fn a_rule_permits_names_below_its_suffixes() {
    let policy = ruled(json!({ "dnsSuffixes": ["Lab.Example."] }));
    for name in ["lab.example", "a.lab.example", "A.B.LAB.example"] {
        assert_eq!(checked(&policy, "10.0.0.7", server_named(name)), Ok(None), "{name}");
    }
    for name in ["example", "evillab.example", "lab.example.evil", "*.lab.example", "*.a.lab.example", "10.0.0.8", "7"]
    {
        assert_eq!(refused(&policy, "10.0.0.7", server_named(name)), Unpermitted::Name(name.to_owned()));
    }
    let wild = ruled(json!({ "dnsSuffixes": ["lab.example"], "wildcards": true }));
    assert_eq!(checked(&wild, "10.0.0.7", server_named("*.lab.example")), Ok(None));
    assert!(checked(&wild, "10.0.0.7", server_named("*.example")).is_err());
    let common = json!({ "commonName": "f*.lab.example", "dnsNames": ["a.lab.example"] });
    assert!(checked(&wild, "10.0.0.7", common).is_err());
}

#[test]
fn a_rule_permits_addresses_in_its_networks() {
    let policy = ruled(json!({ "networks": ["10.1.0.0/16", "fd12::/64", "::ffff:192.0.2.0/120"] }));
    for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::7", "192.0.2.9"] {
        assert_eq!(checked(&policy, "bmc.example", server_at(address)), Ok(None), "{address}");
    }
    for address in ["10.2.0.1", "::ffff:10.2.0.1", "::10.1.2.3", "fd12:0:0:1::7", "2002:a01:203::"] {
        assert!(checked(&policy, "bmc.example", server_at(address)).is_err(), "{address}");
    }
    let every_v6 = ruled(json!({ "networks": ["::/0"] }));
    assert!(checked(&every_v6, "bmc.example", server_at("::ffff:10.1.2.3")).is_err());
}

#[test]
fn a_rule_limits_usages_attributes_and_life() {
    let policy = ruled(json!({
        "dnsSuffixes": ["lab.example"], "usages": ["server", "client"], "attributes": ["O=Example Corp,C=DE"], "longestDays": 30,
    }));
    let client = |common: &str| {
        json!({
            "commonName": common, "attributes": "C=DE,O=Example Corp", "dnsNames": ["a.lab.example"], "clientAuth": true,
        })
    };
    assert_eq!(checked(&policy, "10.0.0.7", client("a.lab.example")), Ok(Some(Duration::days(30))));
    for common in ["Domain Admins", "root@lab.example", "admin"] {
        assert_eq!(refused(&policy, "10.0.0.7", client(common)), Unpermitted::CommonName(common.to_owned()));
    }
    let other = json!({ "commonName": "Rack 1", "attributes": "O=Example Corp", "dnsNames": ["a.lab.example"] });
    assert_eq!(refused(&policy, "10.0.0.7", other), Unpermitted::Attributes("O=Example Corp".to_owned()));
    let none = ruled(json!({ "usages": [] }));
    assert_eq!(refused(&none, "bmc.example", server_named("bmc.example")), Unpermitted::Usage(Usage::Server));
}

#[test]
fn the_most_specific_rule_decides_alone() {
    let policy = policy(json!([
        { "prefix": r"\ved\policy\devices\Rack-1", "dnsSuffixes": ["one.example"], "addressHost": false },
        { "prefix": r"\VED\Policy", "dnsSuffixes": ["all.example"] },
        { "prefix": r"\VED\Policy\Devices\Rack", "dnsSuffixes": ["other.example"] },
    ]))
    .unwrap();
    assert_eq!(checked(&policy, "10.0.0.7", server_named("a.one.example")), Ok(None));
    let error = checked(&policy, "10.0.0.7", server_named("a.all.example")).unwrap_err();
    assert!(error.to_string().contains(r"rule for \ved\policy\devices\Rack-1"), "{error}");
    assert!(checked(&policy, "10.0.0.7", server_at("10.0.0.7")).is_err(), "its address's host");
    let subject: DeviceSubject = serde_json::from_value(server_named("a.all.example")).unwrap();
    let host = Host::parse("10.0.0.7").unwrap();
    let elsewhere = Wanted { dn: r"\VED\Policy\Devices\Rack-2\certificate", host: &host, subject: &subject };
    assert_eq!(policy.check(elsewhere), Ok(None));
}

#[test]
fn invalid_policies_are_refused_with_a_reason() {
    let rule = |field: &str, value: Value| {
        let mut rule = json!({ "prefix": r"\VED\Policy\Devices" });
        rule[field] = value;
        rule
    };
    let many = |count: usize| (0..count).map(|n| json!({ "prefix": format!(r"\VED\Policy\{n}") })).collect::<Vec<_>>();
    let names = |count: usize| (0..count).map(|n| format!("{n}.{}.example", "x".repeat(60))).collect::<Vec<_>>();
    let wide: Vec<_> =
        (0..20).map(|n| json!({ "prefix": format!(r"\VED\Policy\{n}"), "dnsSuffixes": names(100) })).collect();
    for (rules, reason) in [
        (json!([rule("prefix", json!("Devices"))]), "a prefix is"),
        (json!([rule("dnsSuffixes", json!(["*.example"]))]), "neither a wildcard nor a leading dot"),
        (json!([rule("dnsSuffixes", json!([""]))]), "is not a DNS suffix"),
        (json!([rule("networks", json!(["10.0.0.7/8"]))]), "is not a network"),
        (json!([rule("usages", json!(["codeSigning"]))]), "unknown variant"),
        (json!([rule("attributes", json!(["CN=x"]))]), "CN is not one of"),
        (json!([rule("longestDays", json!(1))]), "longestDays is 2 or more"),
        (json!([rule("longestdays", json!(9))]), "unknown field"),
        (json!([rule("wildcards", json!(true)), { "prefix": r"\ved\policy\devices" }]), "two rules for"),
        (json!([rule("dnsSuffixes", json!(names(101)))]), "at most 100 entries"),
        (json!(many(101)), "at most 100 rules"),
        (json!(wide), "more than 64 KiB"),
    ] {
        let error = policy(rules).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    assert!(policy(json!(many(100))).is_ok());
}

#[test]
fn a_policy_reads_back_as_written() {
    let policy =
        ruled(json!({ "networks": ["10.0.0.0/8"], "usages": ["client"], "longestDays": 9, "wildcards": true }));
    assert_eq!(serde_json::from_value::<IssuancePolicy>(serde_json::to_value(&policy).unwrap()).unwrap(), policy);
}

proptest! {
    /// Whatever is permitted without a rule has the host's form and no other.
    #[test]
    fn no_other_name_passes_the_default(name in "[a-zA-Z0-9.*-]{1,20}") {
        if let Ok(subject) = serde_json::from_value::<DeviceSubject>(server_named(&name)) {
            let host = Host::parse("bmc.example").unwrap();
            let verdict = IssuancePolicy::default().check(Wanted { dn: DN, host: &host, subject: &subject });
            prop_assert_eq!(verdict.is_ok(), name.eq_ignore_ascii_case("bmc.example"));
        }
    }
}
