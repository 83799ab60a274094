//! What a role obtains of keys when its function's code is somebody else's: every role, every action, every kind of
//! key, judged by the policies that were deployed and with which keys are made.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_kms::types::{KeySpec, KeyUsageType, Tag};
use rootcast_core::installation::InstallationId;
use rootcast_ledger::Change;
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::root::Serial;
use rootcast_vault::{
    GENERATION_TAG, INSTALLATION_TAG, KeyRole, KeyRoles, Purpose, ROLE_TAG, SERIAL_TAG, STACK_TAG, Vault,
};

use super::call::Call;
use super::keys::Keys;
use super::policy::{Allowed, allowed};
use crate::stack::{FUNCTIONS, Stack};

const ACTIONS: [&str; 15] = [
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateGrant",
    "Decrypt",
    "DisableKey",
    "EnableKey",
    "Encrypt",
    "GenerateDataKey",
    "GetPublicKey",
    "PutKeyPolicy",
    "ScheduleKeyDeletion",
    "Sign",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
];

/// Root keys: of a root that signs, of one that is made, and of one in a stack with LeavesFromRoot.
const ROOTS: [&str; 3] = ["live", "next", "signs leaves"];
const OURS: [&str; 4] = ["issuing", "live", "next", "signs leaves"];

/// Of another team, the same without a name and with our tags, and of another installation.
const NOT_OURS: [&str; 6] = ["encrypts", "foreign", "nameless", "other's issuing", "other's root", "tagged"];
/// What KMS cannot tell from a new key: another team's that has no name and signs. A tag obtains nothing of it: no line says so.
const AS_NEW: [&str; 2] = ["nameless", "tagged"];

/// Role, action and key of everything that succeeds.
const MEANT: [(&str, &str, &[&str]); 27] = [
    ("Catalog", "Decrypt", &["access"]),
    ("Catalog", "GenerateDataKey", &["sealing"]),
    ("Conduct", "CancelKeyDeletion", &OURS),
    ("Conduct", "CreateAlias", &OURS),
    ("Conduct", "DisableKey", &ROOTS),
    ("Conduct", "EnableKey", &ROOTS),
    ("Conduct", "GetPublicKey", &OURS),
    ("Conduct", "ScheduleKeyDeletion", &["issuing", "next", "signs leaves"]),
    ("Conduct", "Sign", &ROOTS),
    ("Conduct", "TagResource", &AS_NEW),
    ("Import", "Decrypt", &["access", "sealing"]),
    ("Import", "GenerateDataKey", &["sealing"]),
    ("Issue", "GetPublicKey", &["issuing", "signs leaves"]),
    ("Issue", "Sign", &["issuing", "signs leaves"]),
    ("Regenerate", "CreateAlias", &ROOTS),
    ("Regenerate", "DisableKey", &ROOTS),
    ("Regenerate", "EnableKey", &ROOTS),
    ("Regenerate", "GetPublicKey", &ROOTS),
    ("Regenerate", "Sign", &ROOTS),
    ("Regenerate", "TagResource", &AS_NEW),
    ("Rotate", "GetPublicKey", &["audit"]),
    ("Rotate", "Sign", &["audit"]),
    ("Worker", "Decrypt", &["sealing"]),
    // Nothing: named, so that the list shows every role.
    ("Login", "", &[]),
    ("Retry", "", &[]),
    ("Worker", "Sign", &[]),
    ("Worker", "GenerateDataKey", &[]),
];

/// The key of a root that signs, which an earlier version made: the issuer signs with it, and it has no name. The command
/// gives it what a new key has.
async fn live_key(stack: &Stack, kms: &aws_sdk_kms::Client) -> String {
    stack.found().await;
    let root = stack.ledger.root(1).await.unwrap().unwrap();
    let (key, alias) = (root.key.unwrap(), format!("alias/rootcast/rootcast/{}", root.spec.serial));
    let policy = async || kms.get_key_policy().key_id(&key).send().await.unwrap().policy.unwrap();
    let made_with = policy().await;
    let before = roles(stack).with_leaves_from_root(true).policy(KeyRole::Root);
    assert_ne!(before, made_with);
    kms.put_key_policy().key_id(&key).policy(before).send().await.unwrap();
    kms.delete_alias().alias_name(&alias).send().await.unwrap();
    for _ in 0..2 {
        let done = stack.cli("root protect-keys", "").await.done();
        assert_eq!(done["protected"][0]["key"], key.as_str(), "{done}");
    }
    assert_eq!(policy().await, made_with);
    // A key that is disabled can be protected as well.
    kms.disable_key().key_id(&key).send().await.unwrap();
    stack.cli("root protect-keys", "").await.done();
    kms.enable_key().key_id(&key).send().await.unwrap();
    key
}

/// Whoever writes the table names another team's key there: it keeps its policy, and the command says so.
async fn policy_of_others_is_kept(stack: &Stack, kms: &aws_sdk_kms::Client, foreign: &str) {
    let policy = async || kms.get_key_policy().key_id(foreign).send().await.unwrap().policy.unwrap();
    let before = policy().await;
    let mut root = stack.ledger.root(1).await.unwrap().unwrap();
    let ours = root.key.replace(foreign.to_owned());
    stack.ledger.commit(Change { roots: vec![&root], ..Change::default() }).await.unwrap();
    stack.cli("root protect-keys", "").await.refused(1, "who wrote the record?");
    assert_eq!(policy().await, before);
    (root.key, root.revision) = (ours, root.revision + 1);
    stack.ledger.commit(Change { roots: vec![&root], ..Change::default() }).await.unwrap();
}

/// As the stack's functions read them.
fn roles(stack: &Stack) -> KeyRoles {
    let output = |name| stack.local.outputs.of(name).unwrap();
    let roles: KeyRoles = output("KeyRoles").parse().unwrap();
    roles.with_leaves_from_root(output("LeavesFromRoot").parse().unwrap())
}

/// The keys, by the names that [`MEANT`] uses.
async fn keys(stack: &Stack) -> BTreeMap<&'static str, String> {
    let (config, outputs) = (&stack.local.sdk_config, &stack.local.outputs);
    let kms = aws_sdk_kms::Client::new(config);
    let live = live_key(stack, &kms).await;
    let purpose = Purpose {
        installation: InstallationId::from_random([1; 16]),
        role: KeyRole::Root,
        generation: 2,
        serial: Serial::from_random([2; 16]),
    };
    let vault = Vault::new(&kms, &aws_sdk_resourcegroupstagging::Client::new(config), "rootcast");
    let make = async |role, roles: &KeyRoles| {
        vault.create_key(&Purpose { role, ..purpose }, KeyAlgorithm::EcdsaP256, roles).await.unwrap()
    };
    let roles = roles(stack);
    let (next, issuing) = (make(KeyRole::Root, &roles).await, make(KeyRole::Issuing, &roles).await);
    let signs_leaves = make(KeyRole::Root, &roles.with_leaves_from_root(true)).await;
    let foreign = async || {
        let made = kms.create_key().key_spec(KeySpec::EccNistP256).key_usage(KeyUsageType::SignVerify).send().await;
        made.unwrap().key_metadata.unwrap().arn.unwrap()
    };
    // Another installation in the same account and region, with functions of the same names.
    let others: KeyRoles = "arn:aws:iam::000000000000:role/rootcast/us-east-1/other".parse().unwrap();
    let other_vault = Vault::new(&kms, &aws_sdk_resourcegroupstagging::Client::new(config), "other");
    let other_purpose = Purpose { installation: InstallationId::from_random([3; 16]), ..purpose };
    let others_key = async |role| {
        let purpose = Purpose { role, ..other_purpose };
        other_vault.create_key(&purpose, KeyAlgorithm::EcdsaP256, &others).await.unwrap()
    };
    let (others_root, others_issuing) = (others_key(KeyRole::Root).await, others_key(KeyRole::Issuing).await);
    let tagged = foreign().await;
    let (installation, serial) = (purpose.installation.to_string(), purpose.serial.to_string());
    for (name, value) in [
        (STACK_TAG, "rootcast"),
        (ROLE_TAG, "issuing"),
        (GENERATION_TAG, "2"),
        (INSTALLATION_TAG, installation.as_str()),
        (SERIAL_TAG, serial.as_str()),
    ] {
        let tag = Tag::builder().tag_key(name).tag_value(value).build().unwrap();
        kms.tag_resource().key_id(&tagged).tags(tag).send().await.unwrap();
    }
    let other = foreign().await;
    policy_of_others_is_kept(stack, &kms, &other).await;
    kms.create_alias().alias_name("alias/other-team").target_key_id(&other).send().await.unwrap();
    let encrypts = kms.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap();
    let output = |name: &str| outputs.of(name).unwrap().to_owned();
    [
        ("live", live),
        ("next", next),
        ("issuing", issuing),
        ("signs leaves", signs_leaves),
        ("encrypts", encrypts),
        ("foreign", other),
        ("nameless", foreign().await),
        ("other's issuing", others_issuing),
        ("other's root", others_root),
        ("tagged", tagged),
        ("sealing", output("SealingKeyArn")),
        ("access", output("AccessKeyArn")),
        ("audit", output("AuditKeyArn")),
    ]
    .into()
}

/// A call with everything in its favour: our tags, the right encryption context, an alias of ours.
fn attempt(function: &str, action: &str, key: &str, known: &BTreeMap<String, Vec<String>>) -> Call {
    let mut context = known.clone();
    let mut say =
        |name: &str, values: &[&str]| context.insert(name.to_owned(), values.iter().map(|v| (*v).to_owned()).collect());
    say("aws:RequestTag/rootcast:stack", &["rootcast"]);
    say("aws:TagKeys", &[STACK_TAG, SERIAL_TAG]);
    for sealed in ["certificate", "access-key", "device"] {
        say(&format!("kms:EncryptionContext:rootcast:{sealed}"), &["1"]);
    }
    Call { function: function.to_owned(), action: format!("kms:{action}"), resource: key.to_owned(), context }
}

/// The keys with which the role succeeds.
fn obtained<'a>(
    role: &Allowed,
    function: &str,
    action: &str,
    keys: &BTreeMap<&'a str, String>,
    known: &BTreeMap<&'a str, BTreeMap<String, Vec<String>>>,
    judged: &Keys,
) -> BTreeSet<&'a str> {
    let succeeds = |(name, arn): &(&&'a str, &String)| {
        let call = attempt(function, action, arn, &known[**name]);
        // An alias needs a permission for itself as well, which counts if it has our name.
        let by_iam = action == "CreateAlias" && {
            let alias = "arn:aws:kms:us-east-1:000000000000:alias/rootcast/rootcast/1".to_owned();
            !role.permits(&Call { resource: alias, ..call.clone() }, None)
        };
        !by_iam && role.permits(&call, judged.policy(arn))
    };
    keys.iter().filter(succeeds).map(|(name, _)| *name).collect()
}

#[tokio::test]
async fn no_role_obtains_more_of_a_key_than_meant() {
    Stack::run(0, async |stack| {
        let keys = keys(stack).await;
        let (mut judged, mut known) = (Keys::default(), BTreeMap::new());
        for (name, arn) in &keys {
            known.insert(*name, judged.look_at(stack, arn).await.clone());
        }
        for output in FUNCTIONS {
            let function = output.strip_suffix("Function").unwrap();
            let mut role = allowed(stack, output).await;
            let meant = |action: &str| -> BTreeSet<&str> {
                let lines = MEANT.iter().filter(|(of, what, _)| *of == function && *what == action);
                lines.flat_map(|(.., keys)| keys.iter().copied()).collect()
            };
            for action in ACTIONS {
                let found = obtained(&role, output, action, &keys, &known, &judged);
                assert_eq!(found, meant(action), "{function} {action}");
            }
            // Whatever IAM allows the role by mistake, our keys refuse what their policies do not say.
            let mut any = role.statements.iter().find(|each| !each.denies).unwrap().clone();
            (any.actions, any.resources) = (vec!["kms:*".to_owned()], vec!["*".to_owned()]);
            (any.document["Action"], any.document["Resource"]) = ("kms:*".into(), "*".into());
            role.statements.push(any);
            for action in ACTIONS {
                let mut found = obtained(&role, output, action, &keys, &known, &judged);
                found.retain(|key| !NOT_OURS.contains(key));
                let meant: BTreeSet<&str> = meant(action).into_iter().filter(|key| !NOT_OURS.contains(key)).collect();
                assert_eq!(found, meant, "{function} with kms:* {action}");
            }
        }
    })
    .await;
}
