//! Log-in, expired sessions, log-out.
//!
//! Uses a session if the device supports it, since each request with Basic authentication may cost the device a
//! password hash; otherwise Basic. Never Basic after a refused log-in: a second wrong password could lock the
//! account.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use rootcast_core::job::task::{ErrorClass, Failure};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::connection::{Answer, Body, Connection, TOKEN, basic};
use super::link::Link;
use crate::credential::Credential;

/// The collection's path in the standard (DSP0266, "Session management").
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

#[derive(Serialize)]
struct Login<'a> {
    #[serde(rename = "UserName")]
    name: &'a str,
    #[serde(rename = "Password")]
    password: &'a str,
}

pub(super) struct Session<'a> {
    pub(super) connection: Connection,
    credential: &'a Credential,
    access: Access,
    /// Every session that was opened; the current one is last.
    opened: Vec<Link>,
}

#[derive(Clone)]
enum Access {
    /// Not logged in.
    Closed,
    Token {
        sessions: Link,
    },
    Basic,
}

impl<'a> Session<'a> {
    pub(super) const fn new(connection: Connection, credential: &'a Credential) -> Self {
        Self { connection, credential, access: Access::Closed, opened: Vec::new() }
    }

    /// Logs in at the path given in the service root, which needs no authentication. Returns the service root.
    pub(super) async fn open_by_root(&mut self) -> Result<Value, Failure> {
        let root = self.connection.ask(Method::GET, &Link::known("/redfish/v1/"), None).await?.json()?;
        let sessions = root.pointer("/Links/Sessions/@odata.id").and_then(Value::as_str);
        let service = root.pointer("/SessionService/@odata.id").and_then(Value::as_str);
        match (sessions, service) {
            (Some(sessions), _) => self.open(self.connection.link(sessions)?).await?,
            (None, Some(service)) => self.open(self.connection.link(service)?.child("Sessions")).await?,
            (None, None) => self.open_basic()?,
        }
        Ok(root)
    }

    /// Logs in at the standard's path.
    pub(super) async fn open_by_standard(&mut self) -> Result<(), Failure> {
        self.open(Link::known(SESSIONS)).await
    }

    async fn open(&mut self, sessions: Link) -> Result<(), Failure> {
        let login = Login { name: &self.credential.username, password: &self.credential.password };
        let login: Body = Zeroizing::new(serde_json::to_vec(&login).unwrap_or_default());
        let answer = self.connection.ask(Method::POST, &sessions, Some(&login)).await?;
        if matches!(answer.status.as_u16(), 404 | 405 | 501) {
            return self.open_basic();
        }
        if !answer.status.is_success() {
            return Err(self.scrubbed(answer.failure()));
        }
        let (Some(token), Some(own)) = (answer.token(), self.own(&answer)) else {
            let message = format!("POST {sessions}: the device logs in without X-Auth-Token or a session to delete.");
            return Err(Failure::new(ErrorClass::Unsupported, message));
        };
        self.connection.identify(Some((TOKEN, token)));
        self.opened.push(own);
        self.access = Access::Token { sessions };
        Ok(())
    }

    /// The link of the new session, from the first place in the answer with a valid link.
    fn own(&self, answer: &Answer) -> Option<Link> {
        let named = [answer.location(), answer.body.get("@odata.id").and_then(Value::as_str)];
        named.into_iter().flatten().find_map(|link| self.connection.link(link).ok())
    }

    fn open_basic(&mut self) -> Result<(), Failure> {
        let pair = Zeroizing::new(format!("{}:{}", self.credential.username, self.credential.password.as_str()));
        let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        self.connection.identify(basic(&value));
        self.access = Access::Basic;
        Ok(())
    }

    /// Any status except 401 counts as an answer. An expired session is reopened once: its credential was accepted
    /// before.
    pub(super) async fn ask(&mut self, method: Method, link: &Link, body: Option<&Value>) -> Result<Answer, Failure> {
        let body = body.map(|body| Zeroizing::new(body.to_string().into_bytes()));
        self.send(method, link, body.as_ref()).await
    }

    /// As [`Self::ask`], with a serialised body.
    pub(super) async fn send(&mut self, method: Method, link: &Link, body: Option<&Body>) -> Result<Answer, Failure> {
        let answer = self.connection.ask(method.clone(), link, body).await?;
        let ran_out = answer.status.as_u16() == 401 && self.opened.len() == 1;
        match self.access.clone() {
            Access::Token { sessions } if ran_out => {
                self.connection.identify(None);
                self.open(sessions).await?;
                self.connection.ask(method, link, body).await
            }
            _ => Ok(answer),
        }
    }

    pub(super) async fn get(&mut self, link: &Link) -> Result<Answer, Failure> {
        self.ask(Method::GET, link, None).await
    }

    /// Deletes every session that was opened, also after errors. Sessions that cannot be deleted end by the device's
    /// time limit.
    pub(super) async fn close(mut self) {
        self.connection.use_reserve();
        // Delete the current session last: it authenticates the other deletions.
        for own in std::mem::take(&mut self.opened) {
            match self.connection.ask(Method::DELETE, &own, None).await {
                Ok(answer) if answer.status.is_success() || matches!(answer.status.as_u16(), 401 | 404) => {}
                Ok(answer) => tracing::warn!(session = %own, status = %answer.status, "session not deleted"),
                Err(failure) => tracing::warn!(session = %own, why = failure.message, "session not deleted"),
            }
        }
    }

    /// Hides the password, which the device's message may quote.
    fn scrubbed(&self, failure: Failure) -> Failure {
        match self.credential.password.as_str() {
            "" => failure,
            password => Failure { message: failure.message.replace(password, "***"), ..failure },
        }
    }
}
