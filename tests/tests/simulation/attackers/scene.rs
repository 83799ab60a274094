//! What an attacker finds: a fleet in the middle of a rollover, a certificate with its key, and a server of the
//! attacker's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use rootcast_core::access::password::PasswordHash;
use rootcast_core::access::permission::Operation;
use rootcast_core::access::token::Token;
use rootcast_core::audit::{Actor, Name, Subject};
use rootcast_core::device::Pin;
use rootcast_gate::routes::Route;
use rootcast_gate::{CSRF_COOKIE, SESSION_COOKIE, secret};
use rootcast_ledger::{Exchanged, GrantId, GrantRecord, Pair, PrincipalRecord, SessionRecord, TokenRecord};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::calls::{ALL, Call};
use super::roles::{Attacker, Credential};
use crate::clock;
use crate::dynamo::{ACCESS, AUDIT, CERTIFICATES, DEVICES, Place, Row};
use crate::imported;
use crate::openbmc::{Bmc, Mood, USER};
use crate::world::World;

/// Somebody else's device, which has proven what it holds.
pub const VICTIM: &str = "victim";
/// Somebody else's device, whose proof the running job waits for in vain.
pub const SLOW: &str = "slow";
/// Enrolled by the attacker at a server of the attacker's own, and never approved.
pub const MINE: &str = "mine";
/// An id that is free, until the attacker takes it.
pub const FREE: &str = "free";

pub const VICTIMS_PASSWORD: &str = "the victim's password";
pub const SLOWS_PASSWORD: &str = "the slow one's password";
/// Of a credential that several devices share, but none at the attacker's address.
pub const SHARED_PASSWORD: &str = "the shared password";
const OWN_PASSWORD: &str = "the attacker's password for devices";

pub const ATTACKER: &str = "eve";
pub const OTHER: &str = "admin";
/// Of both.
pub const LOGIN: &str = "correct horse battery staple";
/// Its hash, at the least cost: there are many logins.
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$xNoj5LidTOfLadmmMkiIjJ41Wsj+146uvkntSGJQmM8";
pub const CLIENT: &str = "script";
pub const REFRESH: &str = "the-attackers-refresh-token";
const TOKEN: &str = "the-attackers-token";
pub const EPOCH: u64 = 7;

pub const IMPORTED: &str = "web";

/// Most runs of the schedule that a call's consequences are waited for.
const TICKS: usize = 10;

/// The address of a server in the fleet's network.
pub const fn at(number: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)), 443)
}

pub const VICTIMS: SocketAddr = at(1);
pub const SLOWS: SocketAddr = at(2);
/// The attacker's server.
pub const THEIRS: SocketAddr = at(66);

pub struct Scene {
    pub world: World,
    pub attacker: Attacker,
    /// The imported certificate's id.
    pub web: String,
    /// The id of the victim's own certificate, and the serial number, which root 1 gave it.
    pub own: String,
    pub serial: String,
    pub job: u64,
    /// The pin of the attacker's server, and those of the others.
    pub pin: Pin,
    pub pins: Vec<(&'static str, String)>,
    /// The roots and the devices in the beginning.
    pub authority: Row,
    pub devices: Vec<Row>,
    /// Callers and their credentials.
    pub callers: Vec<Row>,
}

/// An answer to a call.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    /// Refused because the caller, who is known, may not do this.
    pub fn is_denial(&self) -> bool {
        self.status == 403 || self.text.contains("Access error. ")
    }
}

impl Scene {
    pub async fn build(world: World, attacker: Attacker) -> Self {
        let fleet = &world.cloud.fleet;
        let servers = [(VICTIMS, VICTIMS_PASSWORD), (SLOWS, SLOWS_PASSWORD), (THEIRS, OWN_PASSWORD)];
        for (at, password) in servers {
            fleet.add(at, Bmc::new(password));
        }
        fleet.at(THEIRS, |bmc| bmc.lets_all_in = true);
        let shared = json!({ "username": USER, "password": SHARED_PASSWORD, "addresses": ["10.0.0.0/30"] });
        world.cloud.services.set_parameter("/devices/shared/rack".to_owned(), shared.to_string());

        world.must("PUT", "/signingCertificate", Value::Null).await;
        let rows = [world.enrolment(VICTIM, VICTIMS), world.enrolment(SLOW, SLOWS)];
        world.must("POST", "/devices", json!(rows)).await;
        // With a slot of its own, so that the attacker's server may be named as the address of others too.
        let mut mine = world.enrolment(MINE, THEIRS);
        mine["slot"] = json!("/redfish/v1/AccountService/LDAP/Certificates");
        _ = world.ask_as_operator("POST", "/devices", mine).await;
        world.credential(FREE, OWN_PASSWORD);
        // The schedule finds the devices that joined.
        sleep(Duration::from_secs(65)).await;
        settle(&world).await;
        world.must("POST", &format!("/devices/{VICTIM}/certificate"), Value::Null).await;
        settle(&world).await;
        let web = world.must("POST", "/v3/scm/certificates/import", imported::body(0, IMPORTED)).await;
        let web = web["certificate_id"].as_str().unwrap().to_owned();
        let bound = json!({ "CertificateDN": dn(IMPORTED), "ApplicationDN": [application(VICTIM)] });
        world.must("POST", "/vedsdk/certificates/associate", bound).await;
        let own = world.must("GET", &format!("/devices/{VICTIM}/certificate"), Value::Null).await;
        let own = own["response"]["id"].as_str().unwrap_or_else(|| panic!("{own}")).to_owned();

        let signed = world.must("GET", "/certificates/signed", Value::Null).await;
        let signed =
            signed["response"]["signed"].as_array().unwrap().iter().find(|signed| signed["certificate"] == own);
        let serial = signed.unwrap()["serial"].as_str().unwrap().to_owned();

        fleet.at(SLOWS, |bmc| bmc.mood = Mood::Refuses);
        // The number of the next job, if none is running.
        let mut job = 2;
        if !attacker.calm {
            job = world.regenerate("").await.unwrap();
            world.job_when(job, Duration::from_secs(3600), |job| job["state"] == "paused").await;
        }
        settle(&world).await;
        let pins = [("THEIRS", THEIRS), ("VICTIMS", VICTIMS), ("SLOWS", SLOWS)];
        let pins = pins.map(|(name, at)| (name, fleet.at(at, |bmc| bmc.pin()).unwrap().to_string()));
        let mut scene = Self {
            attacker,
            web,
            own,
            serial,
            job,
            pin: fleet.at(THEIRS, |bmc| bmc.pin()).unwrap(),
            pins: pins.into(),
            authority: Row::default(),
            devices: Vec::new(),
            callers: Vec::new(),
            world,
        };
        if scene.attacker.alone {
            let all: Vec<&str> = Operation::ALL.iter().map(|operation| operation.as_str()).collect();
            scene.world.functions.need_two_persons(all.join(",").parse().unwrap());
        }
        scene.admit().await;
        scene.authority = scene.authority();
        scene.devices = scene.world.cloud.tables.all(DEVICES);
        scene.callers = scene.world.cloud.tables.all(ACCESS);
        scene.callers.retain(|row| !row["id"].as_str().unwrap().starts_with("attempts#"));
        scene
    }

    /// Stores the attacker and the other principal, and the attacker's credential.
    async fn admit(&self) {
        let (ledger, now) = (self.world.functions.ledger(), clock::now());
        let Attacker { grants, credential, alone, .. } = &self.attacker;
        for (name, grants) in [(ATTACKER, grants.clone()), (OTHER, Attacker::administrator().grants)] {
            let password = Some(PasswordHash::try_from(HASH.to_owned()).unwrap());
            if name == OTHER || *alone || *credential != Credential::Token {
                let (person, made_by) = (None, Default::default());
                let record = PrincipalRecord { password, grants, epoch: EPOCH, created: now, person, made_by };
                ledger.put_principal(&name.parse().unwrap(), &record, &Actor::function("tests")).await.unwrap();
            }
        }
        let principal = ATTACKER.parse().unwrap();
        let epoch = || async { ledger.principal(&principal).await.unwrap().unwrap().login_epoch().unwrap() };
        match credential {
            Credential::Token => {
                let record = TokenRecord {
                    principal: ATTACKER.to_owned(),
                    grants: grants.clone(),
                    granted: None,
                    exchanged: alone.then_some(Exchanged { identity: None, epoch: EPOCH }),
                    expires: now + time::Duration::hours(8),
                    created: now,
                };
                ledger.put_token(&Fingerprint::of(TOKEN.as_bytes()), &record).await.unwrap();
            }
            Credential::Narrowed(scope) => {
                let pair = Pair {
                    access: Fingerprint::of(TOKEN.as_bytes()),
                    refresh: Fingerprint::of(REFRESH.as_bytes()),
                    created: now,
                    expires: now + time::Duration::HOUR,
                };
                let grant = GrantRecord {
                    principal: principal.clone(),
                    epoch: epoch().await,
                    client: CLIENT.to_owned(),
                    scopes: scope.parse().unwrap(),
                    access: pair.access,
                    refresh: pair.refresh,
                    created: now,
                    expires: now + time::Duration::days(30),
                };
                ledger.put_grant(&GrantId::from_random([1; 16]), &grant, &pair).await.unwrap();
            }
            Credential::Session => {
                let record = SessionRecord {
                    principal: principal.clone(),
                    epoch: epoch().await,
                    exchanged: None,
                    csrf: csrf().sha256(),
                    idle: 3600,
                    expires: now + time::Duration::HOUR,
                    created: now,
                };
                ledger.put_session(&session().sha256(), &record).await.unwrap();
            }
        }
    }

    /// Sends the call, and waits until everything that follows from it is done.
    pub async fn call(&self, route: &Route, call: &Call) -> Answer {
        let written = self.world.cloud.tables.write_units_without_audit();
        let answer = self.send(route, call).await;
        settle(&self.world).await;
        if self.world.cloud.tables.write_units_without_audit() != written {
            // The schedule finds devices that joined, and carries on with jobs.
            for _ in 0..TICKS {
                sleep(Duration::from_secs(61)).await;
                settle(&self.world).await;
                if !self.world.jobs().iter().any(|job| job["state"] == "running") {
                    break;
                }
            }
        }
        answer
    }

    pub async fn send(&self, route: &Route, call: &Call) -> Answer {
        let method = route.method.as_str();
        let mut request = Request::builder().method(method).uri(&call.path);
        request = match self.attacker.credential {
            Credential::Token | Credential::Narrowed(_) => request.header(AUTHORIZATION, format!("Bearer {TOKEN}")),
            Credential::Session => {
                let cookie = format!("{SESSION_COOKIE}={}; {CSRF_COOKIE}={}", session().expose(), csrf().expose());
                request.header(COOKIE, cookie).header("x-csrf-token", csrf().expose())
            }
        };
        let body = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let (cloud, name) = (&self.world.cloud, &self.attacker.name);
        cloud.note(format_args!("--- {name}: {method} {} {body:.200}", call.path));
        if method != "GET" {
            cloud.passwords.acted(&call.path);
        }
        let response = self.world.functions.http(route.function.into(), request.body(Body::from(body)).unwrap()).await;
        if method != "GET" {
            cloud.passwords.acted(&call.path);
        }
        let response = response.unwrap();
        let status = response.status().as_u16();
        let text = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        cloud.note(format_args!("--- {method} {} = {status} {text:.300}", call.path));
        Answer { status, text }
    }

    /// Whether the call names what is gone: Venafi's API answers then as if the right were missing, and nothing was denied.
    pub fn is_about_nothing(&self, Call { label, body, .. }: &Call) -> bool {
        let parts: Vec<&str> = label.split([':', ',']).map(str::trim).collect();
        // A label names what tells the calls apart: some are all about the imported certificate.
        let is_imported = body.as_ref().is_some_and(|body| body["CertificateDN"] == dn(IMPORTED).as_str());
        let certificates = [("imported", self.web.as_str()), ("the victim's", self.own.as_str())];
        let devices = ALL.map(|device| (device, device));
        let named = certificates.map(|named| (CERTIFICATES, named)).into_iter();
        let mut named = named
            .chain(devices.map(|named| (DEVICES, named)))
            .filter(|(_, (name, _))| parts.contains(name) || (is_imported && *name == "imported"));
        named.any(|(table, (_, id))| self.world.cloud.tables.named(table, id).is_none())
    }

    /// Entries about what the attacker was refused.
    pub fn denials(&self) -> u64 {
        let subject = Subject::Denials(Name::of(ATTACKER)).to_string();
        let head = self.world.cloud.tables.row(&Place { table: AUDIT, pk: subject, sk: "audit".to_owned() });
        head.and_then(|head| head["sequence"].as_u64()).unwrap_or(0)
    }

    /// The request that waits for a second person, if there is one.
    pub fn request(&self) -> Option<String> {
        let rows = self.world.cloud.tables.all(ACCESS);
        rows.iter().find_map(|row| row["ask"].as_str()).map(str::to_owned)
    }

    pub fn authority(&self) -> Row {
        self.world.cloud.tables.named(CERTIFICATES, "authority").unwrap_or_default()
    }
}

pub(super) fn session() -> Token {
    secret([1; 32])
}

fn csrf() -> Token {
    secret([2; 32])
}

pub fn dn(name: &str) -> String {
    format!(r"\VED\Policy\Certificates\{name}")
}

pub fn own_dn(device: &str) -> String {
    format!(r"\VED\Policy\Devices\{device}\certificate")
}

pub fn application(device: &str) -> String {
    format!(r"\VED\Policy\Devices\{device}")
}

/// Waits until everything that was asked for is done. A worker's next try at a device that refuses comes within minutes.
pub async fn settle(world: &World) {
    let limit = clock::age() + Duration::from_secs(3600);
    while !world.is_at_rest() {
        assert!(clock::age() < limit, "this never ends\n{}", world.cloud.trace());
        sleep(Duration::from_millis(500)).await;
    }
}
