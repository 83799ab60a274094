//! What no attacker may obtain. Whether it was obtained is read from the world: what servers were sent, what was signed,
//! what the tables hold. An answer only counts if it contains a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rootcast_core::access::permission::{Operation, Right};
use rootcast_core::audit;
use rootcast_gate::routes;
use serde_json::Value;
use x509_parser::extensions::GeneralName;

use super::roles::{Attacker, Credential};
use super::scene::{
    Answer, SHARED_PASSWORD, SLOW, SLOWS, SLOWS_PASSWORD, Scene, THEIRS, VICTIM, VICTIMS, VICTIMS_PASSWORD, own_dn,
};
use crate::clock;
use crate::dynamo::{ACCESS, AUDIT, CERTIFICATES, DEVICES, JOBS};
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// The credential of a device whose record leads to the attacker's server.
    MovedCredential,
    /// Any other credential.
    Credential,
    /// A private key in an answer.
    ExportedKey,
    /// A private key at a device that is the attacker's server, and approved as that.
    DeployedKey,
    /// A private key at a device that nobody approved.
    UnapprovedKey,
    /// A certificate with a name that is not the address of an approved device.
    Name,
    /// A root signs without the proof of a device that was to give it.
    Activation,
    Waiver,
    /// A device counts as approved that nobody who may has approved as it is.
    Approval,
    /// A root was made, or the next issuing authority.
    Root,
    /// An issuing authority is revoked, and what it signed.
    Compromise,
    Abort,
    /// The devices are to trust a root of the attacker's.
    Anchor,
    /// The victim's own certificate is revoked.
    Revocation,
    /// A credential that lives longer, or is good for more, than the one that it came from.
    Token,
    /// A caller was added, changed or removed.
    Callers,
    /// An entry of an audit chain was changed or removed.
    Audit,
    /// What holds in every world.
    Invariant,
}

/// A goal that was reached, and how that shows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    pub goal: Goal,
    pub what: String,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.goal, self.what)
    }
}

impl Goal {
    /// Whether it takes no attack: the role says that its holders may do this.
    pub fn is_given_to(self, attacker: &Attacker) -> bool {
        let may = |operation| attacker.may(operation);
        match self {
            Self::MovedCredential => may(Operation::ApproveDevice),
            Self::ExportedKey => may(Operation::ExportKey),
            Self::DeployedKey | Self::Approval => may(Operation::ApproveDevice),
            Self::Root => may(Operation::Regenerate),
            Self::Compromise | Self::Anchor => may(Operation::Regenerate) && may(Operation::Activate),
            Self::Abort => may(Operation::Abort),
            // One permits the name, the other gives it to a device.
            Self::Name => may(Operation::Regenerate) && may(Operation::ApproveDevice),
            Self::Activation | Self::Waiver => may(Operation::Activate),
            // Also by its renewal or deletion.
            Self::Revocation => attacker.effective().0.allow(Right::Write, &own_dn(VICTIM)),
            Self::Callers => may(Operation::AdministerAccess),
            Self::Credential | Self::UnapprovedKey | Self::Token | Self::Audit | Self::Invariant => false,
        }
    }
}

/// An audit chain's lines, by their keys.
type Chains = BTreeMap<String, BTreeMap<String, String>>;

/// Watches a world from now on.
#[derive(Clone)]
pub struct Watch {
    chains: Chains,
}

impl Watch {
    pub fn of(world: &World) -> Self {
        Self { chains: chains(world) }
    }

    /// The secrets in an answer.
    pub fn of_answer(&self, Answer { text, .. }: &Answer) -> Vec<Fact> {
        let told = PASSWORDS.iter().filter(|(_, password)| text.contains(password));
        let mut facts: Vec<Fact> = told
            .map(|(whose, _)| Fact { goal: Goal::Credential, what: format!("an answer has the password of {whose}") })
            .collect();
        if text.contains("PRIVATE KEY") {
            facts.push(Fact { goal: Goal::ExportedKey, what: "an answer has a private key".to_owned() });
        }
        facts
    }

    /// Everything that the world shows the attacker to have obtained so far.
    pub fn reached(&mut self, scene: &Scene) -> Vec<Fact> {
        let mut facts = BTreeSet::new();
        let mut reach = |goal, what: String| _ = facts.insert(Fact { goal, what });
        servers(scene, &mut reach);
        names(scene, &mut reach);
        approvals(scene, &mut reach);
        gate(scene, &mut reach);
        callers(scene, &mut reach);
        self.audit(&scene.world, &mut reach);
        for what in scene.world.cloud.truth.broken() {
            reach(Goal::Invariant, what);
        }
        facts.into_iter().collect()
    }

    /// Each chain is intact, and has every line that was seen before.
    fn audit(&mut self, world: &World, reach: &mut impl FnMut(Goal, String)) {
        let now = chains(world);
        for (subject, lines) in &self.chains {
            let there = now.get(subject);
            let gone = lines.iter().find(|(key, line)| there.and_then(|there| there.get(*key)) != Some(line));
            if let Some((key, _)) = gone {
                reach(Goal::Audit, format!("{key} of {subject} is another one than before, or gone"));
            }
        }
        for (subject, lines) in &now {
            if let Err(broken) = audit::verify(lines.values().map(String::as_str)) {
                reach(Goal::Audit, format!("the chain of {subject} is broken at {broken}"));
            }
        }
        self.chains = now;
    }
}

const PASSWORDS: [(&str, &str); 3] =
    [(VICTIM, VICTIMS_PASSWORD), (SLOW, SLOWS_PASSWORD), ("several devices", SHARED_PASSWORD)];

/// Where the audit chains lie.
pub fn chains(world: &World) -> Chains {
    let mut chains = Chains::new();
    for row in world.cloud.tables.all(AUDIT) {
        let (pk, sk) = (row["pk"].as_str().unwrap_or_default(), row["sk"].as_str().unwrap_or_default());
        if let (true, Some(line)) = (sk.starts_with("audit#"), row["line"].as_str()) {
            chains.entry(pk.to_owned()).or_default().insert(sk.to_owned(), line.to_owned());
        }
    }
    chains
}

/// What the attacker's server was sent, and whose address it is.
fn servers(scene: &Scene, reach: &mut impl FnMut(Goal, String)) {
    let devices = scene.world.cloud.truth.devices();
    let approved_there = |id: &str| devices.get(id).is_some_and(|known| known.approved && known.address == THEIRS);
    let sent = scene.world.cloud.fleet.at(THEIRS, |bmc| (bmc.logins.clone(), bmc.keys));
    let (logins, keys) = sent.unwrap_or_default();
    for (whose, password) in PASSWORDS {
        if logins.iter().any(|login| login == password) {
            let goal = if approved_there(whose) { Goal::MovedCredential } else { Goal::Credential };
            reach(goal, format!("the password of {whose} was sent to the attacker's server"));
        }
    }
    if keys > 0 {
        let is_approved = devices.keys().any(|id| approved_there(id));
        let goal = if is_approved { Goal::DeployedKey } else { Goal::UnapprovedKey };
        reach(goal, "a private key was sent to the attacker's server".to_owned());
    }
}

/// An approved device is what it was in the beginning. A worker gives it another pin with another certificate, which is
/// not the attacker's.
fn approvals(scene: &Scene, reach: &mut impl FnMut(Goal, String)) {
    let identity = |row: &Value| ["address", "credential", "profile", "slot", "subject"].map(|name| row[name].clone());
    let pins = |row: &Value| row["pins"].as_array().cloned().unwrap_or_default();
    let is_approved = |row: &Value| row["unapproved"].is_null() && !pins(row).is_empty();
    for row in scene.world.cloud.tables.all(DEVICES).iter().filter(|row| is_approved(row)) {
        let before = scene.devices.iter().find(|before| before["id"] == row["id"] && is_approved(before));
        let is_same = before.is_some_and(|before| identity(before) == identity(row));
        if !is_same || pins(row).iter().any(|pin| *pin == scene.pin.to_string()) {
            reach(Goal::Approval, format!("{} counts as approved", row["id"]));
        }
    }
}

/// Every name in what our roots have signed for devices is the address of an approved one.
fn names(scene: &Scene, reach: &mut impl FnMut(Goal, String)) {
    let devices = scene.world.cloud.truth.devices();
    let approved = devices.values().filter(|known| known.approved).map(|known| known.address);
    let permitted: BTreeSet<String> = approved.chain([VICTIMS, SLOWS]).map(|at| at.ip().to_string()).collect();
    for row in scene.world.cloud.tables.all(CERTIFICATES) {
        let is_one = text(&row["id"]).starts_with("scs") && row["device"].is_string();
        if !is_one || !row["leaf"].is_string() {
            continue;
        }
        let leaf = BASE64_STANDARD.decode(text(&row["leaf"])).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let subjects = parsed.subject().iter_common_name().map(|name| name.as_str().unwrap().to_owned());
        let alternatives = parsed.subject_alternative_name().unwrap();
        let alternatives = alternatives.iter().flat_map(|names| &names.value.general_names).map(|name| match name {
            GeneralName::IPAddress([a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
            other => other.to_string(),
        });
        for name in subjects.chain(alternatives).filter(|name| !permitted.contains(name)) {
            reach(Goal::Name, format!("a certificate of {} is signed for {name}", row["device"]));
        }
    }
}

/// The rollover's gate.
fn gate(scene: &Scene, reach: &mut impl FnMut(Goal, String)) {
    let rows = scene.world.cloud.tables.all(JOBS);
    for task in rows.iter().filter(|row| row["state"] == "waived") {
        reach(Goal::Waiver, format!("{} is waived", task["device"]));
    }
    if rows.iter().any(|row| row["abortRequested"] == true || row["outcome"] == "aborted") {
        reach(Goal::Abort, "the rollover is aborted".to_owned());
    }
    if rows.iter().any(|row| text(&row["pk"]).starts_with("crl#") && row["sk"] == *scene.serial) {
        reach(Goal::Revocation, format!("the certificate {} is revoked", scene.serial));
    }
    let authority = scene.authority();
    if authority["lastGeneration"] != scene.authority["lastGeneration"] {
        reach(Goal::Root, format!("root {} is made", authority["lastGeneration"]));
    }
    if authority["hasAnchors"] == true {
        reach(Goal::Anchor, "the list of trusted certificates is changed".to_owned());
    }
    if authority["compromisedRoots"].is_array() {
        reach(Goal::Compromise, format!("root {} is given up", authority["compromisedRoots"]));
    }
    if authority["compromised"].is_array() {
        reach(Goal::Compromise, format!("{} is revoked", authority["compromised"]));
    }
    let is_asked_for =
        |lines: &BTreeMap<String, String>| lines.values().any(|line| line.contains(r#""action":"renew""#));
    if chains(&scene.world).iter().any(|(subject, lines)| subject.contains("root-") && is_asked_for(lines)) {
        reach(Goal::Root, "the next issuing authority is asked for".to_owned());
    }
    let now = &authority["signing"];
    if *now == scene.authority["signing"] {
        return;
    }
    if rows.iter().any(|row| row["activation"] == "immediate") {
        reach(Goal::Activation, format!("root {now} signs at once"));
    }
    let devices = scene.world.cloud.truth.devices();
    if !devices.get(SLOW).is_some_and(|known| known.approved) {
        reach(Goal::Activation, format!("root {now} signs, and {SLOW} left without a proof"));
    }
}

/// Longest lives, in seconds.
const TOKEN: i64 = 24 * 3600;
const GRANTED: i64 = 3600;
const GRANT: i64 = 30 * 24 * 3600;
const SESSION: i64 = 12 * 3600;

fn callers(scene: &Scene, reach: &mut impl FnMut(Goal, String)) {
    let rows = scene.world.cloud.tables.all(ACCESS);
    let id = |row: &Value| row["id"].as_str().unwrap_or_default().to_owned();
    let kind = |row: &Value| id(row).split('#').next().unwrap_or_default().to_owned();
    let before: BTreeMap<String, &Value> = scene.callers.iter().map(|row| (id(row), row.as_ref())).collect();
    let there: BTreeSet<String> = rows.iter().map(|row| id(row)).collect();
    for gone in before.keys().filter(|id| id.starts_with("principal#") && !there.contains(*id)) {
        reach(Goal::Callers, format!("{gone} is gone"));
    }
    for row in &rows {
        let (kind, before) = (kind(row), before.get(&id(row)));
        let was = before.is_some();
        let is_same = before.is_some_and(|before| **before == **row);
        let lives = row["expires"].as_i64().unwrap_or(i64::MAX).saturating_sub(row["created"].as_i64().unwrap_or(0));
        let limit = match kind.as_str() {
            _ if is_same => continue,
            "token" if row["granted"].is_object() => GRANTED,
            "token" => TOKEN,
            "grant" => GRANT,
            "session" => SESSION,
            "principal" | "identity" | "access-key" => {
                reach(Goal::Callers, format!("{} is another one than before", row["id"]));
                continue;
            }
            "refresh" => {
                let grant = rows.iter().find(|grant| id(grant) == format!("grant#{}", text(&row["grant"])));
                if grant.is_some_and(|grant| grant["expires"].as_i64() < row["expires"].as_i64()) {
                    reach(Goal::Token, format!("{} outlives its grant", row["id"]));
                }
                continue;
            }
            _ => continue,
        };
        if lives > limit {
            reach(Goal::Token, format!("a {kind} lives for {lives} s"));
        }
        let fixed = ["created", "scopes", "principal", "grants"].iter();
        if let Some(before) = before.filter(|before| fixed.clone().any(|name| before[*name] != row[*name])) {
            reach(Goal::Token, format!("{row} was {before}"));
        }
        // The grant's own limit was compared above: an exchange does not move it.
        if kind == "grant" && before.is_some_and(|before| before["expires"] != row["expires"]) {
            reach(Goal::Token, "a grant was extended".to_owned());
        }
        let has_password = scene.attacker.credential == Credential::Session;
        if !was && !has_password {
            let of = format!("grant#{}", text(&row["granted"]["grant"]));
            let from = scene.callers.iter().find(|row| id(row) == of);
            if from.is_none_or(|grant| grant["scopes"] != row["granted"]["scopes"]) {
                reach(Goal::Token, format!("a {kind} came from nothing: {row}"));
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Long after every credential's end, the attacker's is good for nothing. Nothing can be done in this world afterwards.
pub async fn outlives(scene: &Scene) -> Option<Fact> {
    clock::leap(Duration::from_secs(25 * 3600));
    let route = match scene.attacker.credential {
        Credential::Narrowed(_) => routes::VERSION,
        Credential::Token | Credential::Session => routes::ABOUT,
    };
    let call = scene.calls(&route).swap_remove(0);
    let answer = scene.send(&route, &call).await;
    let what = || format!("after a day the credential is still good for {}: {}", route.path, answer.text);
    (answer.status != 401).then(|| Fact { goal: Goal::Token, what: what() })
}
