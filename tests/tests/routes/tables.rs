//! The tables: one device, one imported certificate, the device's own certificate's place, and the caller.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use rootcast_core::access::identity::Identity;
use rootcast_core::access::password::PasswordHash;
use rootcast_core::access::permission::Grants;
use rootcast_core::access::token::Token;
use rootcast_core::audit::Head;
use rootcast_core::device::{Driver, Pin, Profile};
use rootcast_core::inventory::sealed::Sealed;
use rootcast_gate::secret;
use rootcast_ledger::{
    AccessKeyRecord, CertificateRecord, DeviceRecord, Exchanged, GrantId, GrantRecord, Granted, IdentityRecord, Ledger,
    PendingCertificate, PrincipalRecord, SessionRecord, Tables, TokenRecord,
};
use rootcast_pki::certificate::Certificate;
use rootcast_pki::fingerprint::Fingerprint;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use crate::provider::{ISSUER, SUBJECT};

pub(crate) const CERTIFICATE: &str = "scs0000000000001";
pub(crate) const DN: &str = r"\VED\Policy\Servers\web";
pub(crate) const DEVICE: &str = "bmc-1";
pub(crate) const TOKEN: &str = "n0t-a-real-token-but-as-long-as-one-has-to-be-to-be-one==";
pub(crate) const ACCESS_KEY: &str = "AKIDEXAMPLE012345678";
pub(crate) const JOB: &str = "7";
const OWN: &str = "scs0000000000002";
const EPOCH: u64 = 7;
pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// The hash of that password, with minimal cost: there are many requests.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$xNoj5LidTOfLadmmMkiIjJ41Wsj+146uvkntSGJQmM8";

type Item = HashMap<String, AttributeValue>;

/// The caller, identified by [`TOKEN`], [`ACCESS_KEY`], [`PASSWORD`] or [`session`].
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) grants: Grants,
    /// If set, the token was issued by a login.
    pub(crate) scope: Option<&'static str>,
}

/// The session's id; [`csrf`] is its CSRF token.
pub(crate) fn session() -> Token {
    secret([1; 32])
}

pub(crate) fn csrf() -> Token {
    secret([2; 32])
}

/// Every write is accepted without effect.
pub(crate) fn ledger(caller: Option<&Caller>, sealed: &Sealed) -> Ledger {
    let (certificate, device) = (certificate(), device());
    let shard = certificate.shard;
    let held: HashMap<String, Item> = [
        (CERTIFICATE.to_owned(), item(&certificate)),
        (DEVICE.to_owned(), item(&device)),
        (OWN.to_owned(), item(place())),
        (r"name#servers\web".to_owned(), holder(CERTIFICATE)),
        (format!(r"name#devices\{DEVICE}\certificate"), holder(OWN)),
    ]
    .into_iter()
    .chain(caller.into_iter().flat_map(|caller| access(caller, sealed)))
    .collect();
    let (row, listed) = (item(&certificate), item(&device));
    let batched = held.clone();

    let get = mock!(Client::get_item).then_compute_output(move |request| {
        let key = request.key().unwrap();
        GetItemOutput::builder().set_item(id(key).and_then(|id| held.get(id)).cloned().or_else(|| audited(key))).build()
    });
    let batch = mock!(Client::batch_get_item).then_compute_output(move |request| {
        let tables = request.request_items().unwrap().iter();
        let found = tables.map(|(table, wanted)| {
            let items = wanted.keys().iter().filter_map(|key| batched.get(id(key)?).cloned()).collect();
            (table.clone(), items)
        });
        BatchGetItemOutput::builder().set_responses(Some(found.collect())).build()
    });
    let query = mock!(Client::query).then_compute_output(move |request| {
        let asked = request.expression_attribute_values().and_then(|values| values.get(":shard"));
        let is_its =
            asked == Some(&AttributeValue::N(shard.to_string())) && request.table_name() == Some("certificates");
        let items: Vec<Item> = is_its.then(|| row.clone()).into_iter().collect();
        QueryOutput::builder().count(i32::from(is_its)).set_items(Some(items)).build()
    });
    let scan = mock!(Client::scan).then_compute_output(move |request| {
        let is_its = request.table_name() == Some("devices");
        ScanOutput::builder().set_items(is_its.then(|| vec![listed.clone()])).build()
    });
    let put = mock!(Client::put_item).then_output(|| PutItemOutput::builder().build());
    let update = mock!(Client::update_item).then_output(|| UpdateItemOutput::builder().build());
    let delete = mock!(Client::delete_item).then_output(|| DeleteItemOutput::builder().build());
    let write = mock!(Client::transact_write_items).then_output(|| TransactWriteItemsOutput::builder().build());
    let rules = [&get, &batch, &query, &scan, &put, &update, &delete, &write];
    let client = mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, rules);
    let table = |name: &str| Some(name.to_owned());
    let tables = Tables {
        certificates: table("certificates"),
        jobs: table("jobs"),
        devices: table("devices"),
        access: table("access"),
        audit: table("audit"),
        heads: table("heads"),
    };
    Ledger::new(client, tables)
}

fn access(Caller { grants, scope }: &Caller, sealed: &Sealed) -> Vec<(String, Item)> {
    let now = OffsetDateTime::now_utc();
    let principal = PrincipalRecord {
        password: Some(PasswordHash::try_from(HASH.to_owned()).unwrap()),
        grants: grants.clone(),
        epoch: EPOCH,
        created: now,
        person: None,
        made_by: Default::default(),
    };
    let epoch = principal.login_epoch().unwrap();
    let granted =
        scope.map(|scope| Granted { grant: GrantId::from_random([1; 16]), epoch, scopes: scope.parse().unwrap() });
    let exchanged = granted.is_none().then_some(Exchanged { identity: None, epoch: EPOCH });
    let token = TokenRecord {
        principal: "ops".to_owned(),
        grants: Grants::default(),
        granted,
        exchanged,
        expires: now + Duration::HOUR,
        created: now,
    };
    let kept = SessionRecord {
        principal: "ops".parse().unwrap(),
        epoch,
        exchanged: None,
        csrf: csrf().sha256(),
        idle: 600,
        expires: now + Duration::minutes(10),
        created: now,
    };
    let key = AccessKeyRecord {
        principal: "ops".parse().unwrap(),
        epoch: EPOCH,
        secret: sealed.clone(),
        expires: None,
        created: now,
    };
    let given = scope.map(|scope| GrantRecord {
        principal: "ops".parse().unwrap(),
        epoch,
        client: "c".to_owned(),
        scopes: scope.parse().unwrap(),
        access: Fingerprint::of(TOKEN.as_bytes()),
        refresh: Fingerprint::of(b"refresh"),
        created: now,
        expires: now + Duration::DAY,
    });
    let given = given.map(|given| (format!("grant#{}", GrantId::from_random([1; 16])), item(given)));
    let identity = Identity::oidc(ISSUER, SUBJECT).unwrap();
    let bound = IdentityRecord { principal: "ops".parse().unwrap(), epoch: EPOCH, created: now };
    let others = [
        ("principal#ops".to_owned(), item(principal)),
        (format!("token#{}", Fingerprint::of(TOKEN.as_bytes())), item(token)),
        (format!("access-key#{ACCESS_KEY}"), item(key)),
        (format!("session#{}", session().sha256()), item(kept)),
        (format!("identity#{identity}"), item(bound)),
    ];
    others.into_iter().chain(given).collect()
}

fn item(record: impl Serialize) -> Item {
    serde_dynamo::to_item(record).unwrap()
}

fn holder(certificate: &str) -> Item {
    HashMap::from([("certificate".to_owned(), AttributeValue::S(certificate.to_owned()))])
}

/// The ends of the audit chains of the certificate, the job, the root and the device.
fn audited(key: &Item) -> Option<Item> {
    let named = |name: &str| key.get(name)?.as_s().ok();
    let there = named("sk").is_some_and(|sort| sort == "audit")
        && named("pk").is_some_and(|subject| [CERTIFICATE, JOB, "root-1", "device:bmc-1"].contains(&subject.as_str()));
    there.then(|| item(Head { sequence: 1, ..Head::NONE }))
}

fn id(key: &Item) -> Option<&String> {
    key.get("id")?.as_s().ok()
}

fn certificate() -> CertificateRecord {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let leaf = Certificate::from_der(made.cert.der().to_vec()).unwrap();
    let now = OffsetDateTime::now_utc();
    CertificateRecord {
        id: CERTIFICATE.parse().unwrap(),
        shard: 1,
        revision: 1,
        folder: "Servers".to_owned(),
        name: "web".to_owned(),
        spki: Fingerprint::of(leaf.spki_der()),
        leaf,
        chain: Vec::new(),
        issuing: None,
        key: Some(Sealed { data_key: vec![1], nonce: vec![2], ciphertext: vec![3] }),
        device: None,
        key_algorithm: "EC P-256".to_owned(),
        signature_algorithm: "SHA256withECDSA".to_owned(),
        common_name: Some("a.test".to_owned()),
        names: vec!["a.test".to_owned()],
        not_before: now,
        not_after: now + Duration::DAY,
        enterprise_project_id: None,
        uses: 0,
        unproven: false,
        noticed: None,
        renew_at: None,
        shown_until: None,
        revoked: None,
        imported_by: "ops".to_owned(),
        created: now,
        updated: now,
    }
}

fn place() -> PendingCertificate {
    PendingCertificate {
        id: OWN.parse().unwrap(),
        revision: 1,
        folder: format!(r"Devices\{DEVICE}"),
        name: "certificate".to_owned(),
        device: DEVICE.parse().unwrap(),
        uses: 1,
        imported_by: "ops".to_owned(),
        created: OffsetDateTime::now_utc(),
    }
}

/// A device at a forbidden address, so that no test waits for it.
fn device() -> DeviceRecord {
    let (address, credential) = ("https://192.0.2.1".parse().unwrap(), "/rootcast/devices/bmc".to_owned());
    let mut device = DeviceRecord::new(
        DEVICE.parse().unwrap(),
        rootcast_core::device::Incarnation::from_random([1; 16]),
        address,
        Driver::Redfish,
        Profile::Openbmc,
        credential,
    );
    device.pins = vec![Pin::Key(Fingerprint::of(b"key"))];
    device
}
