//! `POST /sessions/iam` and `POST /sessions/oidc`: a token for the identity that API Gateway has verified.
//!
//! The route's authorizer has verified the caller. API Gateway states the result in the event's request context, which
//! no client can write. Of the rest of the request only the query is read.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use lambda_http::RequestExt;
use lambda_http::aws_lambda_events::apigw::ApiGatewayRequestAuthorizer;
use lambda_http::request::RequestContext;
use rootcast_core::access::identity::Identity;
use rootcast_core::access::token::Token;
use rootcast_dialects::lenovo::{Envelope, LenovoError, Loose};
use rootcast_gate::{Kind, Refusal, source};
use rootcast_ledger::{Exchanged, TokenRecord};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::session::{Owner, begun};
use crate::{ACCESS, App, random};

#[derive(Serialize)]
struct IdentityResponse<'a> {
    access_token: &'a str,
    /// Seconds.
    expires_in: i64,
    identity: String,
    principal: String,
    token_type: &'static str,
}

/// Others are ignored: a signature may be in the query as well.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    #[serde(rename = "as", default)]
    form: Form,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Form {
    #[default]
    Token,
    /// With cookies, as of `POST /sessions`.
    Session,
}

pub(crate) async fn of_iam(
    State(app): State<Arc<App>>,
    Loose(wanted, _): Loose<Wanted>,
    parts: Parts,
) -> Result<Response, LenovoError> {
    let arn = authorizer(&parts).and_then(|it| it.iam).and_then(|iam| iam.user_arn);
    app.exchange(&parts, &wanted, arn.and_then(|arn| Identity::iam(&arn).ok())).await
}

pub(crate) async fn of_oidc(
    State(app): State<Arc<App>>,
    Loose(wanted, _): Loose<Wanted>,
    parts: Parts,
) -> Result<Response, LenovoError> {
    let claims = authorizer(&parts).and_then(|it| it.jwt).map(|jwt| jwt.claims);
    let identity = claims.and_then(|claims| Identity::oidc(claims.get("iss")?, claims.get("sub")?).ok());
    app.exchange(&parts, &wanted, identity).await
}

fn authorizer(parts: &Parts) -> Option<ApiGatewayRequestAuthorizer> {
    match parts.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.authorizer.clone(),
        _ => None,
    }
}

impl App {
    async fn exchange(
        &self,
        parts: &Parts,
        wanted: &Wanted,
        identity: Option<Identity>,
    ) -> Result<Response, LenovoError> {
        let identity = identity.ok_or_else(Refusal::unauthenticated)?;
        let now = (self.clock)();
        let owner = self.ledger.identity(&identity).await?;
        let holder = match &owner {
            Some(owner) => self.ledger.principal(&owner.principal).await?,
            None => None,
        };
        let held = holder.zip(owner).filter(|(holder, owner)| holder.epoch == owner.epoch);
        let Some((_, owner)) = held else {
            warn!(identity = %identity, "nobody's identity");
            return Err(nobodys(&identity));
        };
        let exchanged = Exchanged { identity: Some(identity.clone()), epoch: owner.epoch };
        if matches!(wanted.form, Form::Session) {
            let owner = Owner { principal: owner.principal, epoch: owner.epoch, exchanged: Some(exchanged) };
            return begun(self, owner, &source(parts), "API Gateway has verified the identity.").await;
        }
        let token = Token::from_random(&random()?);
        let record = TokenRecord {
            principal: owner.principal.to_string(),
            grants: Default::default(),
            granted: None,
            exchanged: Some(exchanged),
            expires: now + ACCESS,
            created: now,
        };
        self.ledger.put_token(&token.sha256(), &record).await?;
        info!(caller = record.principal, identity = %identity, "identity exchanged for a token");
        Ok(Envelope::success(IdentityResponse {
            access_token: token.expose(),
            expires_in: ACCESS.whole_seconds(),
            identity: identity.to_string(),
            principal: record.principal,
            token_type: "Bearer",
        })
        .into_response())
    }
}

fn nobodys(identity: &Identity) -> LenovoError {
    LenovoError::new(
        Kind::Forbidden,
        format!("{identity} is no principal's identity."),
        "Have it added with `rootcast access add NAME`, and --iam or --oidc.",
    )
}
