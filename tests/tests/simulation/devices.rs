//! The physical fleet, behind the driver's port: most worlds leave TLS out, but none leaves the pins out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use rootcast_core::job::task::{ErrorClass, Failure};
use rootcast_drivers::{Exchanged, Line, ObservedCertificate, Peer, Wire};
use rootcast_pki::fingerprint::Fingerprint;
use time::format_description::well_known::Rfc2822;
use tokio::time::{Instant, sleep};

use crate::clock;
use crate::cloud::{Cloud, Process};
use crate::openbmc::{Bmc, Mood, SESSIONS};
use crate::trust::names;

#[derive(Default)]
pub struct Fleet {
    bmcs: Mutex<BTreeMap<SocketAddr, Bmc>>,
    /// How much longer each request takes.
    delay: Mutex<Duration>,
    /// How long an exchange takes, in milliseconds; without it [`USUAL`].
    latency: OnceLock<(u64, u64)>,
    /// Visits that have ended, and how long they took in sum.
    visits: Mutex<(u64, Duration)>,
}

const USUAL: (u64, u64) = (5, 60);

impl Fleet {
    pub fn answer_after(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub fn add(&self, at: SocketAddr, bmc: Bmc) {
        self.bmcs.lock().unwrap().insert(at, bmc);
    }

    /// Every exchange takes between so many milliseconds.
    pub fn be_slow(&self, latency: (u64, u64)) {
        self.latency.set(latency).unwrap();
    }

    /// Visits that have ended, and how long they took in sum.
    pub fn visits(&self) -> (u64, Duration) {
        *self.visits.lock().unwrap()
    }

    /// Accesses the device at this address.
    pub fn at<T>(&self, at: SocketAddr, what: impl FnOnce(&mut Bmc) -> T) -> Option<T> {
        self.bmcs.lock().unwrap().get_mut(&at).map(what)
    }

    pub fn each(&self, mut what: impl FnMut(&SocketAddr, &mut Bmc)) {
        self.bmcs.lock().unwrap().iter_mut().for_each(|(at, bmc)| what(at, bmc));
    }

    pub fn copy(&self) -> BTreeMap<SocketAddr, Bmc> {
        self.bmcs.lock().unwrap().clone()
    }

    pub fn restore(&self, bmcs: &BTreeMap<SocketAddr, Bmc>) {
        self.bmcs.lock().unwrap().clone_from(bmcs);
    }

    pub fn places(&self) -> Vec<SocketAddr> {
        self.bmcs.lock().unwrap().keys().copied().collect()
    }
}

/// The network between one worker and the devices.
#[derive(Clone)]
pub struct Network {
    pub cloud: Arc<Cloud>,
    pub process: Arc<Process>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Wire for Network {
    fn open(&self, peer: Peer) -> Result<Box<dyn Line>, Failure> {
        let tls = self.cloud.loopback.get().map(|loopback| loopback.open(&peer)).transpose()?;
        Ok(Box::new(Connection { network: self.clone(), peer, tls, opened: Instant::now() }))
    }

    fn look<'a>(&'a self, peer: &'a Peer, deadline: Instant) -> Exchanged<'a, ObservedCertificate> {
        Box::pin(async move {
            let late = |_| Failure::new(ErrorClass::Timeout, format!("{} did not answer in time.", peer.address));
            tokio::time::timeout_at(deadline, self.reach(peer)).await.map_err(late)??;
            if let Some(loopback) = self.cloud.loopback.get() {
                return loopback.look(peer).await;
            }
            let seen = |bmc: &mut Bmc| ObservedCertificate {
                der: bmc.leaf().der().to_vec(),
                certificate: bmc.leaf().fingerprint(),
                key: Fingerprint::of(bmc.leaf().spki_der()),
            };
            self.cloud.fleet.at(peer.sockets[0], seen).ok_or_else(|| refused(peer))
        })
    }
}

impl Network {
    /// A handshake with the device at the address, if it has one of the pins.
    async fn reach(&self, peer: &Peer) -> Result<(), Failure> {
        let cloud = &self.cloud;
        let delay = *cloud.fleet.delay.lock().unwrap();
        let (least, most) = *cloud.fleet.latency.get().unwrap_or(&USUAL);
        sleep(delay + Duration::from_millis(cloud.random.between(least, most))).await;
        if cloud.random.chance(cloud.faults().network) {
            cloud.inject("connection refused");
            return Err(refused(peer));
        }
        let state = |bmc: &mut Bmc| (bmc.mood, bmc.back > clock::age(), bmc.is_let_in_by(&peer.pins));
        match cloud.fleet.at(peer.sockets[0], state) {
            None | Some((Mood::Refuses, ..) | (_, true, _)) => Err(refused(peer)),
            Some((Mood::Hangs, ..)) => std::future::pending().await,
            Some((_, _, false)) if cloud.loopback.get().is_none() => {
                let message = format!("{}: the device shows another certificate.", peer.address);
                Err(Failure::new(ErrorClass::PinMismatch, message))
            }
            Some(_) => Ok(()),
        }
    }
}

fn refused(peer: &Peer) -> Failure {
    Failure::new(ErrorClass::Connect, format!("{}: connection refused.", peer.address))
}

/// The device's answer to a request.
pub fn answer(cloud: &Cloud, at: SocketAddr, request: Request<Bytes>) -> Option<Response<Bytes>> {
    let (head, body) = request.into_parts();
    let token = head.headers.get("x-auth-token").and_then(|token| token.to_str().ok());
    let (reply, behind, replaced) = cloud.fleet.at(at, |bmc| {
        let before = cloud.is_watched.then(|| (bmc.leaf().clone(), names(bmc)));
        let reply = bmc.answer(head.method.as_str(), head.uri.path(), token, &body);
        let replaced = before.filter(|(leaf, _)| bmc.leaf() != leaf).map(|(_, names)| names);
        (reply, bmc.behind.filter(|_| !bmc.by_manager), replaced)
    })?;
    if let Some(anchor) = reply.removed.as_ref().filter(|_| cloud.is_watched) {
        cloud.truth.removed(cloud, at, anchor);
    }
    if let Some(before) = replaced {
        cloud.truth.replaced(cloud, at, &before);
    }
    let mut response = Response::builder().status(reply.status);
    if let Some(anchor) = reply.shown {
        response = response.header(SHOWN, anchor.to_string());
    }
    if let Some(behind) = behind {
        response = response.header("date", (clock::now() - behind).format(&Rfc2822).unwrap());
    }
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Some(response.body(Bytes::from(reply.body.to_string())).unwrap())
}

/// For the invariants: the anchor that an answer contains.
const SHOWN: &str = "x-shown";

#[derive(Debug)]
struct Connection {
    network: Network,
    peer: Peer,
    tls: Option<Arc<dyn Line>>,
    opened: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut visits = self.network.cloud.fleet.visits.lock().unwrap();
        *visits = (visits.0 + 1, visits.1 + self.opened.elapsed());
    }
}

impl Line for Connection {
    fn exchange(&self, request: Request<Bytes>) -> Exchanged<'_, Response<Bytes>> {
        Box::pin(async move {
            self.network.reach(&self.peer).await?;
            let (cloud, at) = (&self.network.cloud, self.peer.sockets[0]);
            let (method, path) = (request.method().clone(), request.uri().path().to_owned());
            let response = match (cloud.loopback.get(), &self.tls) {
                (Some(loopback), Some(tls)) => loopback.exchange(&self.peer, tls, request).await?,
                _ => answer(cloud, at, request).ok_or_else(|| refused(&self.peer))?,
            };
            if method != "GET" {
                cloud.note(format_args!("{at} {method} {path} = {}", response.status()));
            }
            if cloud.random.chance(cloud.faults().network) {
                cloud.inject("connection broken");
                return Err(Failure::new(ErrorClass::Connect, format!("{}: connection reset.", self.peer.address)));
            }
            // If the connection broke before the answer arrived, the worker cannot know about the refusal.
            if (method.as_str(), path.as_str()) == ("POST", SESSIONS) && response.status() == StatusCode::UNAUTHORIZED {
                cloud.passwords.refused(cloud, &self.network.process, at);
            }
            if let Some(anchor) = response.headers().get(SHOWN).filter(|_| cloud.is_watched) {
                cloud.truth.read_back(at, anchor.to_str().unwrap().parse().unwrap());
            }
            Ok(response)
        })
    }
}
