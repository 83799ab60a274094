//! Tokens that outlive their owner.

use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_ledger::TokenRecord;
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::stack::Stack;

/// The local cloud's caller.
const ARN: &str = "arn:aws:iam::000000000000:root";

impl Stack {
    async fn status_of(&self, token: &Value) -> u16 {
        self.api.send_as(token.as_str(), Method::GET, "/jobs", None).await.status.as_u16()
    }

    fn login(&self, options: &str) -> String {
        format!("login --print --url {} --ca {} {options}", self.local.api_url, self.local.ca_pem.display())
    }
}

#[tokio::test]
async fn a_login_token_ends_with_its_owner() {
    Stack::run(0, async |stack| {
        stack.principal("ops").await;
        let login = async |options: &str| stack.cli(stack.login(options).trim(), "").await;
        login("--principal carl").await.refused(1, "no user carl");
        login("--principal ops --role administrator").await.refused(2, "that user's rights");
        login("--principal ops --hours 25").await.refused(2, "25");
        let of_user = login("--principal ops").await.done();
        let of_role = login("--role administrator --hours 24").await.done();
        assert_eq!((&of_user["principal"], &of_role["principal"]), (&json!("ops"), &json!(format!("iam#{ARN}"))));
        let tokens = [&of_user["token"], &of_role["token"]];
        assert_eq!((stack.status_of(tokens[0]).await, stack.status_of(tokens[1]).await), (200, 200));

        let listed = stack.cli("access list", "").await.done();
        for token in [tokens[0].as_str().unwrap(), tokens[1].as_str().unwrap(), "argon2"] {
            assert!(!listed.to_string().contains(token), "{listed}");
        }
        let of = |name: &str| {
            let lines = listed.as_array().unwrap();
            let line = lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("{listed}"));
            let credential = &line["credentials"][0];
            assert_eq!((&credential["credential"], &credential["given"]), (&json!("token"), &json!("rootcast login")));
            assert!(credential["created"].is_string() && credential["expires"].is_string(), "{credential}");
        };
        [&format!("iam#{ARN}"), "ops", "tests"].into_iter().for_each(of);

        // The identity of the token becomes a principal's: its token was not made for that principal.
        stack.cli(&format!("access add jane --iam {ARN}"), "").await.done();
        assert_eq!(stack.status_of(tokens[1]).await, 401);
        let of_jane = login("").await.done();
        assert_eq!((&of_jane["principal"], stack.status_of(&of_jane["token"]).await), (&json!("jane"), 200));
        // A revoked identity that is given back does not bring its tokens back.
        stack.cli(&format!("access revoke --iam {ARN}"), "").await.done();
        stack.cli(&format!("access add jane --iam {ARN}"), "").await.done();
        assert_eq!(stack.status_of(&of_jane["token"]).await, 401);
        let of_jane = login("").await.done();
        for name in ["ops", "jane"] {
            stack.cli(&format!("access revoke {name}"), "").await.done();
        }
        for token in [tokens[0], tokens[1], &of_jane["token"]] {
            assert_eq!(stack.status_of(token).await, 401);
        }
        // By its identity.
        let again = login("--role reader").await.done();
        assert_eq!(stack.status_of(&again["token"]).await, 200);
        stack.cli(&format!("access revoke --iam {ARN}"), "").await.done();
        assert_eq!(stack.status_of(&again["token"]).await, 401);
        stack.cli(&format!("access revoke --iam {ARN}"), "").await.refused(1, "no token");
    })
    .await;
}

#[tokio::test]
async fn an_old_token_without_owner_is_no_principals_and_short_lived() {
    Stack::run(0, async |stack| {
        let now = OffsetDateTime::now_utc();
        let kept = async |text: &str, created: OffsetDateTime| {
            stack.secrets.keep(text);
            let record = TokenRecord {
                principal: "carl".to_owned(),
                grants: Role::Administrator.into(),
                granted: None,
                exchanged: None,
                created,
                expires: now + Duration::days(300),
            };
            stack.ledger.put_token(&Fingerprint::of(text.as_bytes()), &record).await.unwrap();
            json!(text)
        };
        let old = kept("stored-the-day-before-yesterday", now - Duration::hours(25)).await;
        let new = kept("stored-just-before-the-upgrade", now - Duration::HOUR).await;
        assert_eq!((stack.status_of(&old).await, stack.status_of(&new).await), (401, 200));
        stack.principal("carl").await;
        assert_eq!(stack.status_of(&new).await, 401, "it was made for somebody else");
        stack.cli("access revoke carl", "").await.done();
        assert_eq!(stack.status_of(&new).await, 401);
        assert!(stack.ledger.tokens().await.unwrap().values().all(|token| token.principal != "carl"));
    })
    .await;
}
