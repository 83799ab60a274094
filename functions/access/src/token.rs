//! `GET /vedauth/authorize/verify` and `GET /vedauth/revoke/token`: describes a token, and revokes it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use rootcast_dialects::venafi::OAuthError;
use rootcast_gate::Presented;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::info;

use crate::{App, identity};

/// The attributes of a grant are absent if the token did not come from a login with a password.
#[derive(Serialize)]
pub(crate) struct Verified {
    #[serde(rename = "access_issued_on_ISO8601")]
    access_issued_on: String,
    access_issued_on_unix_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<String>,
    #[serde(rename = "expires_ISO8601")]
    expires: String,
    expires_unix_time: i64,
    #[serde(rename = "grant_issued_on_ISO8601", skip_serializing_if = "Option::is_none")]
    grant_issued_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_issued_on_unix_time: Option<i64>,
    identity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// Seconds.
    valid_for: i64,
}

pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    Extension(Presented { record, principal, .. }): Extension<Presented>,
) -> Result<Json<Verified>, OAuthError> {
    let grant = match &record.granted {
        // The grant may have been revoked between the two reads.
        Some(granted) => Some(app.ledger.grant(&granted.grant).await?.ok_or_else(OAuthError::unauthenticated)?),
        None => None,
    };
    let told = |time: OffsetDateTime| time.format(&Rfc3339).map_err(OAuthError::internal);
    Ok(Json(Verified {
        access_issued_on: told(record.created)?,
        access_issued_on_unix_time: record.created.unix_timestamp(),
        expires: told(record.until())?,
        expires_unix_time: record.until().unix_timestamp(),
        grant_issued_on: grant.as_ref().map(|grant| told(grant.created)).transpose()?,
        grant_issued_on_unix_time: grant.as_ref().map(|grant| grant.created.unix_timestamp()),
        application: grant.map(|grant| grant.client),
        identity: identity(principal.name),
        scope: principal.scopes.map(|scopes| scopes.to_string()),
        valid_for: (record.until() - (app.clock)()).whole_seconds(),
    }))
}

/// Also revokes the refresh token of the same grant.
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(Presented { token, record, principal }): Extension<Presented>,
) -> Result<StatusCode, OAuthError> {
    match &record.granted {
        Some(granted) => app.ledger.revoke_grant(&granted.grant).await?,
        None => app.ledger.remove_token(&token).await?,
    }
    info!(caller = principal.name, "logged out");
    Ok(StatusCode::OK)
}
