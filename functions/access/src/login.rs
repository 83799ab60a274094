//! `POST /vedauth/authorize/oauth`: name and password for a pair of tokens.

use std::error::Error;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use rootcast_core::lockout::Counted;
use rootcast_core::password::PasswordHash;
use rootcast_core::principal::PrincipalName;
use rootcast_core::scope::Scopes;
use rootcast_ledger::{GrantId, GrantRecord, LedgerError, PrincipalRecord};
use serde::Deserialize;
use time::OffsetDateTime;
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::body::{client, fields, grant_type, required};
use crate::refusal::{Code, OAuthError};
use crate::source::source;
use crate::{App, GRANT, Given, Made, random};

#[derive(Deserialize)]
struct Asked {
    client_id: Option<String>,
    username: Option<String>,
    password: Option<String>,
    scope: Option<String>,
    grant_type: Option<String>,
}

/// Who calls, before anybody knows whether it is him.
struct Claim {
    source: String,
    username: String,
    password: Zeroizing<String>,
}

pub(crate) async fn login(State(app): State<Arc<App>>, request: Request) -> Result<Json<Given>, OAuthError> {
    let source = source(&request);
    let asked: Asked = fields(request).await?;
    grant_type(asked.grant_type.as_deref(), "password")?;
    let client = client(asked.client_id)?;
    let username = required(asked.username, "username")?;
    let password = Zeroizing::new(required(asked.password, "password")?);
    let scopes: Scopes = required(asked.scope, "scope")?
        .parse()
        .map_err(|error| OAuthError::invalid(Code::InvalidScope, format!("{error}.")))?;

    let now = (app.clock)();
    let (principal, PrincipalRecord { epoch, .. }) = app.prove(Claim { source, username, password }, now).await?;
    let expires = now + GRANT;
    let made = Made::now(now, expires)?;
    let (access, refresh) = (made.pair.access, made.pair.refresh);
    let grant = GrantRecord { principal, epoch, client, scopes, access, refresh, created: now, expires };
    let id = GrantId::from_random(random()?);
    app.ledger.put_grant(&id, &grant, &made.pair).await?;
    info!(caller = %grant.principal, grant.id = %id, grant.scope = %grant.scopes, "logged in");
    Ok(Json(made.given(&grant)))
}

impl App {
    /// The principal whose password it is. The attempt is counted first, so that no more passwords are looked at than are
    /// free, and taken back where it was right.
    async fn prove(&self, claim: Claim, now: OffsetDateTime) -> Result<(PrincipalName, PrincipalRecord), OAuthError> {
        let Claim { source, username, password } = claim;
        self.ledger.count_attempt(Counted::Source, &source, now).await?;
        self.ledger.count_attempt(Counted::Name, &username, now).await?;
        let found = match username.parse::<PrincipalName>() {
            Ok(name) => self.ledger.principal(&name).await?.map(|record| (name, record)),
            Err(_) => None,
        };
        let stored = found.as_ref().map(|(_, record)| record.password.clone());
        let matches = tokio::task::spawn_blocking(move || PasswordHash::matches(stored.as_ref(), &password)).await;
        let matches = matches.map_err(OAuthError::internal)?.map_err(OAuthError::internal)?;
        match found {
            Some(proven) if matches => {
                let name = self.ledger.forgive_attempt(Counted::Name, &username);
                let (name, source) = tokio::join!(name, self.ledger.forgive_attempt(Counted::Source, &source));
                [name, source].into_iter().for_each(log_kept);
                Ok(proven)
            }
            // A name that nobody has is not logged: it may be a password in the wrong place.
            other => {
                let name = other.map(|(name, _)| name.to_string());
                warn!(caller = name.as_deref().unwrap_or("nobody"), source, "login refused");
                Err(OAuthError::not_logged_in())
            }
        }
    }
}

/// Who logged in is not turned away for a count, which a day forgets.
fn log_kept(forgiven: Result<(), LedgerError>) {
    if let Err(error) = forgiven {
        warn!(error = &error as &dyn Error, "an attempt that succeeded stays counted as failed");
    }
}
