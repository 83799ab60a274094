//! `rootcast access list`.

use anyhow::{Context, Result};
use rootcast_core::access::identity::Identity;
use rootcast_core::access::principal::PrincipalName;
use rootcast_ledger::{
    AccessKeyId, AccessKeyRecord, GrantId, GrantRecord, IdentityRecord, Ledger, PrincipalRecord, SessionRecord,
    TokenRecord,
};
use rootcast_pki::fingerprint::Fingerprint;
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    allowed::told,
    exit::End,
    output::{self, Format, out},
};

/// Everything in the access table that lets somebody in.
struct All {
    principals: BTreeMap<PrincipalName, PrincipalRecord>,
    keys: BTreeMap<AccessKeyId, AccessKeyRecord>,
    identities: BTreeMap<Identity, IdentityRecord>,
    tokens: BTreeMap<Fingerprint, TokenRecord>,
    grants: BTreeMap<GrantId, GrantRecord>,
    sessions: BTreeMap<Fingerprint, SessionRecord>,
}

/// A credential that is valid now. Without its secret, and without the secret's hash.
#[derive(Serialize)]
struct Live {
    #[serde(skip)]
    owner: String,
    credential: &'static str,
    /// What it was given for.
    given: String,
    #[serde(with = "time::serde::rfc3339")]
    created: OffsetDateTime,
    /// `None`: until it is revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    expires: Option<OffsetDateTime>,
}

pub(super) async fn run(ledger: &Ledger, format: Format) -> Result<End> {
    let read = async || {
        let (principals, keys, identities, tokens, grants, sessions) = tokio::try_join!(
            ledger.principals(),
            ledger.access_keys(),
            ledger.identities(),
            ledger.tokens(),
            ledger.grants(),
            ledger.sessions()
        )?;
        anyhow::Ok(All { principals, keys, identities, tokens, grants, sessions })
    };
    let all = read().await.context("the access table could not be read with your AWS credentials")?;
    let live = all.live(OffsetDateTime::now_utc())?;
    match format {
        Format::Json => {
            let principals = all.principals.iter().map(|(name, record)| Ok(json!(all.shown(name, record, &live)?)));
            let mut shown = principals.collect::<Result<Vec<_>>>()?;
            let strangers: BTreeSet<&str> =
                live.iter().map(|each| each.owner.as_str()).filter(|owner| !all.is_principal(owner)).collect();
            let strangers = strangers.iter().map(|owner| json!({ "name": owner, "credentials": of(&live, owner) }));
            shown.extend(strangers);
            output::list(&shown)?;
        }
        Format::Text => {
            let rows = all.principals.iter().map(|(name, record)| all.row(name, record)).collect::<Result<Vec<_>>>()?;
            out!("{}", output::table(["name", "created", "may", "proven by"], &rows));
            let rows = live.iter().map(Live::row).collect::<Result<Vec<_>>>()?;
            out!("\n{}", output::table(["credential of", "kind", "given for", "created", "until"], &rows));
        }
    }
    Ok(End::Done)
}

fn of<'a>(live: &'a [Live], owner: &str) -> Vec<&'a Live> {
    live.iter().filter(|each| each.owner == owner).collect()
}

impl Live {
    fn row(&self) -> Result<[String; 5]> {
        let until = self.expires.map_or_else(|| Ok("revoked".to_owned()), at)?;
        Ok([self.owner.clone(), self.credential.to_owned(), self.given.clone(), at(self.created)?, until])
    }
}

impl All {
    fn is_principal(&self, owner: &str) -> bool {
        owner.parse().is_ok_and(|name: PrincipalName| self.principals.contains_key(&name))
    }

    /// Whether the identity belongs to this principal.
    fn binds(&self, identity: &Identity, name: &PrincipalName, record: &PrincipalRecord) -> bool {
        let bound = self.identities.get(identity);
        bound.is_some_and(|bound| bound.principal == *name && bound.epoch == record.epoch)
    }

    /// All live credentials, by owner: as the gate of the API decides.
    fn live(&self, now: OffsetDateTime) -> Result<Vec<Live>> {
        let mut live = Vec::new();
        let mut add = |owner: &str, credential, given: String, created: OffsetDateTime, expires: Option<_>| {
            if expires.is_none_or(|expires| now < expires) {
                // In whole seconds.
                let whole = |time: OffsetDateTime| time.replace_nanosecond(0);
                let (created, expires) = (whole(created)?, expires.map(whole).transpose()?);
                live.push(Live { owner: owner.to_owned(), credential, given, created, expires });
            }
            anyhow::Ok(())
        };
        for token in self.tokens.values() {
            if let Some(given) = self.given(token) {
                add(&token.principal, "token", given, token.created, Some(token.until()))?;
            }
        }
        for (name, record) in &self.principals {
            let login = record.login_epoch();
            for grant in self.grants.values().filter(|it| it.principal == *name && Some(it.epoch) == login) {
                let given = format!("password, to {}", grant.client);
                add(&name.to_string(), "refresh token", given, grant.created, Some(grant.expires))?;
            }
            for session in self.sessions.values().filter(|it| it.principal == *name && Some(it.epoch) == login) {
                add(&name.to_string(), "session", "password".to_owned(), session.created, Some(session.until()))?;
            }
            for (id, key) in self.keys.iter().filter(|(_, it)| it.principal == *name && it.epoch == record.epoch) {
                add(&name.to_string(), "access key", id.to_string(), key.created, key.expires)?;
            }
        }
        live.sort_by(|one, other| (&one.owner, one.created).cmp(&(&other.owner, other.created)));
        Ok(live)
    }

    /// What the token was given for; `None` if it is invalid, whatever its expiry.
    fn given(&self, token: &TokenRecord) -> Option<String> {
        let holder = token.principal.parse().ok().and_then(|name| Some((self.principals.get(&name)?, name)));
        match (&token.granted, &token.exchanged) {
            (Some(granted), _) => {
                let grant = self.grants.get(&granted.grant)?;
                (holder?.0.login_epoch() == Some(granted.epoch)).then(|| format!("password, to {}", grant.client))
            }
            (None, Some(exchanged)) => {
                let (record, name) = holder.filter(|(record, _)| record.epoch == exchanged.epoch)?;
                match &exchanged.identity {
                    Some(identity) => self.binds(identity, &name, record).then(|| identity.to_string()),
                    None => Some("rootcast login".to_owned()),
                }
            }
            (None, None) => {
                let identity = token.principal.parse::<Identity>().ok();
                let owner = identity.as_ref().and_then(|identity| self.identities.get(identity));
                let ended = owner.is_some_and(|owner| token.is_ended_by(owner, self.principals.get(&owner.principal)));
                (holder.is_none() && !ended).then(|| "rootcast login".to_owned())
            }
        }
    }

    fn keys_of(
        &self,
        name: &PrincipalName,
        record: &PrincipalRecord,
    ) -> impl Iterator<Item = (&AccessKeyId, &AccessKeyRecord)> {
        let now = OffsetDateTime::now_utc();
        self.keys.iter().filter(move |(_, key)| {
            key.principal == *name && key.epoch == record.epoch && key.expires.is_none_or(|expires| now < expires)
        })
    }

    fn identities_of(&self, name: &PrincipalName, record: &PrincipalRecord) -> impl Iterator<Item = &Identity> {
        self.identities.keys().filter(move |identity| self.binds(identity, name, record))
    }

    fn row(&self, name: &PrincipalName, record: &PrincipalRecord) -> Result<[String; 4]> {
        let password = record.password.iter().map(|_| "password".to_owned());
        let keys = self.keys_of(name, record).map(|(id, _)| id.to_string());
        let ways: Vec<_> =
            password.chain(keys).chain(self.identities_of(name, record).map(Identity::to_string)).collect();
        Ok([name.to_string(), at(record.created)?, told(&record.grants), ways.join(" ")])
    }

    /// Without the password's hash.
    fn shown(&self, name: &PrincipalName, record: &PrincipalRecord, live: &[Live]) -> Result<serde_json::Value> {
        let key = |(id, key): (&AccessKeyId, &AccessKeyRecord)| {
            let expires = key.expires.map(at).transpose()?;
            Ok(json!({ "access_key": id.to_string(), "created": at(key.created)?, "expires": expires }))
        };
        Ok(json!({
            "name": name,
            "grants": record.grants,
            "created": at(record.created)?,
            "password": record.password.is_some(),
            "access_keys": self.keys_of(name, record).map(key).collect::<Result<Vec<_>>>()?,
            "identities": self.identities_of(name, record).collect::<Vec<_>>(),
            "credentials": of(live, &name.to_string()),
        }))
    }
}

/// RFC 3339, in whole seconds.
fn at(time: OffsetDateTime) -> Result<String> {
    Ok(time.replace_nanosecond(0)?.format(&Rfc3339)?)
}
