//! `rootcast whoami` and `rootcast logout`.

use std::io::ErrorKind;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    api::{Api, ApiError},
    arguments::AccessArguments,
    exit::End,
    output::{self, Format, out, plain},
    profile,
};

/// Of the caller's own token.
pub(crate) const VERIFY: &str = "/vedauth/authorize/verify";
const REVOKE: &str = "/vedauth/revoke/token";

pub(crate) async fn whoami(arguments: &AccessArguments, format: Format) -> Result<End> {
    let access = arguments.resolve()?;
    let token: Value = Api::connect(&access)?.get_plain(VERIFY, &[]).await?;
    let (name, expires) = (text(&token["identity"]), until(&token));
    let profile = arguments.file()?;
    match format {
        Format::Json => output::json(&json!({
            "principal": name, "expires": expires, "scope": token["scope"], "url": access.url, "profile": profile,
        }))?,
        Format::Text => {
            out!("{} at {}, until {}", plain(&name), access.url, plain(&expires));
            if let Some(scope) = token["scope"].as_str() {
                out!("For {} only.", plain(scope));
            }
            out!("Profile: {}", profile.display());
        }
    }
    Ok(End::Done)
}

/// When the token ends, as [`VERIFY`] says it.
pub(crate) fn until(token: &Value) -> String {
    text(&token["expires_ISO8601"])
}

/// A name with a prefix, in the vendor's form.
pub(crate) fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.strip_prefix("local:").unwrap_or(text).to_owned()
}

/// Revokes the token, and forgets it.
pub(crate) async fn logout(arguments: &AccessArguments, format: Format) -> Result<End> {
    let access = arguments.resolve()?;
    let was_valid = match Api::connect(&access)?.raw(REVOKE).await {
        Ok(_) => true,
        Err(ApiError::Refused(refusal)) if refusal.status.as_u16() == 401 => false,
        Err(error) => return Err(error.into()),
    };
    let file = arguments.file()?;
    // A token from the environment leaves the profile's as it is.
    let is_saved = profile::load(&file)?.is_some_and(|saved| saved.token.expose() == access.token.expose());
    if is_saved {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} cannot be removed", file.display()));
            }
            _ => {}
        }
    }
    match format {
        Format::Json => {
            output::json(&json!({ "url": access.url, "revoked": was_valid, "profile": is_saved.then_some(file) }))?
        }
        Format::Text if was_valid => out!("Logged out of {}: the token is revoked.", access.url),
        Format::Text => out!("Logged out of {}: the token was not valid any more.", access.url),
    }
    Ok(End::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn the_end_of_a_token_is_read_where_the_api_says_it() {
        let told = json!({"identity": "local:ops", "expires_ISO8601": "2026-01-02T03:04:05Z", "expires_unix_time": 1, "valid_for": 1});
        assert_eq!(super::until(&told), "2026-01-02T03:04:05Z");
        assert_eq!(super::text(&told["identity"]), "ops");
    }
}
