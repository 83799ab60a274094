//! `POST /vedauth/authorize/token`: exchanges a refresh token, once, for a new pair of tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use rootcast_dialects::venafi::OAuthError;
use rootcast_ledger::{GrantRecord, LedgerError};
use rootcast_pki::fingerprint::Fingerprint;
use serde::Deserialize;
use tracing::{info, warn};

use crate::body::{client, fields, grant_type, required};
use crate::{App, Made, TokenResponse};

#[derive(Deserialize)]
struct ExchangeRequest {
    client_id: Option<String>,
    refresh_token: Option<String>,
    grant_type: Option<String>,
}

/// A bearer token in the request is ignored: it may be the expired one.
pub(crate) async fn exchange(State(app): State<Arc<App>>, request: Request) -> Result<Json<TokenResponse>, OAuthError> {
    let asked: ExchangeRequest = fields(request).await?;
    grant_type(asked.grant_type.as_deref(), "refresh_token")?;
    let client = client(asked.client_id)?;
    let sent = Fingerprint::of(required(asked.refresh_token, "refresh_token")?.as_bytes());

    let now = (app.clock)();
    let refresh = app.ledger.refresh(&sent).await?.filter(|refresh| now < refresh.expires);
    let id = refresh.ok_or_else(OAuthError::not_exchanged)?.grant;
    let grant = app.ledger.grant(&id).await?.filter(|grant| now < grant.expires && grant.client == client);
    let grant = grant.ok_or_else(OAuthError::not_exchanged)?;
    if !app.is_held(&grant).await? {
        return Err(OAuthError::not_exchanged());
    }
    let made = Made::now(now, grant.expires)?;
    let exchanged = if grant.refresh == sent {
        app.ledger.exchange(&id, &grant, &made.pair).await
    } else {
        Err(LedgerError::Conflict)
    };
    match exchanged {
        // The refresh token was used twice: by its owner and by someone else, and it is unknown who came first.
        Err(LedgerError::Conflict) => {
            warn!(caller = %grant.principal, grant.id = %id, "a refresh token was used twice: its grant is revoked");
            app.ledger.revoke_grant(&id).await?;
            Err(OAuthError::not_exchanged())
        }
        other => {
            other?;
            info!(caller = %grant.principal, grant.id = %id, "tokens exchanged");
            Ok(Json(made.given(&grant)))
        }
    }
}

impl App {
    /// Whether the principal still exists, with the same password as at the login.
    async fn is_held(&self, grant: &GrantRecord) -> Result<bool, LedgerError> {
        let holder = self.ledger.principal(&grant.principal).await?;
        Ok(holder.is_some_and(|holder| holder.login_epoch() == Some(grant.epoch)))
    }
}
