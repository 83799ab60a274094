//! `POST /vedauth/authorize/oauth`: exchanges a name and a password for a pair of tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use rootcast_core::access::scope::Scopes;
use rootcast_dialects::venafi::{Code, OAuthError};
use rootcast_gate::{Claim, Proven, prove, source};
use rootcast_ledger::{GrantId, GrantRecord};
use serde::Deserialize;
use tracing::info;
use zeroize::Zeroizing;

use crate::body::{client, fields, grant_type, required};
use crate::{App, GRANT, Made, TokenResponse, random};

#[derive(Deserialize)]
struct LoginRequest {
    client_id: Option<String>,
    username: Option<String>,
    password: Option<String>,
    scope: Option<String>,
    grant_type: Option<String>,
}

pub(crate) async fn login(State(app): State<Arc<App>>, request: Request) -> Result<Json<TokenResponse>, OAuthError> {
    let (parts, body) = request.into_parts();
    let source = source(&parts);
    let asked: LoginRequest = fields(Request::from_parts(parts, body)).await?;
    grant_type(asked.grant_type.as_deref(), "password")?;
    let client = client(asked.client_id)?;
    let name = required(asked.username, "username")?;
    let password = Zeroizing::new(required(asked.password, "password")?);
    let scopes: Scopes = required(asked.scope, "scope")?
        .parse()
        .map_err(|error| OAuthError::invalid(Code::InvalidScope, format!("{error}.")))?;

    let now = (app.clock)();
    let Proven { name, login_epoch, .. } = prove(&app.ledger, Claim { source, name, password }, now).await?;
    let expires = now + GRANT;
    let made = Made::now(now, expires)?;
    let (access, refresh) = (made.pair.access, made.pair.refresh);
    let (principal, epoch) = (name, login_epoch);
    let grant = GrantRecord { principal, epoch, client, scopes, access, refresh, created: now, expires };
    let id = GrantId::from_random(random()?);
    app.ledger.put_grant(&id, &grant, &made.pair).await?;
    info!(caller = %grant.principal, grant.id = %id, grant.scope = %grant.scopes, "logged in");
    Ok(Json(made.given(&grant)))
}
