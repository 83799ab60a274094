//! `rootcast access` and `rootcast access-key`, which only need AWS credentials and create the first administrator.

use std::path::PathBuf;
use std::process::Stdio;

use reqwest::Method;
use rootcast_ledger::AccessKeyId;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::stack::Stack;

const ROLE: &str = "arn:aws:iam::123456789012:role/deployer";
const ISSUER: &str = "https://login.example.com";

/// The program, built with the other test binaries.
pub(crate) async fn rootcast() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--workspace", "--bin", "rootcast"])
        .status()
        .await
        .unwrap();
    assert!(built.success());
    // This test is in deps/, below the program's folder.
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("rootcast")
}

pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Value>,
    errors: String,
}

impl Said {
    pub(crate) fn done(mut self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.errors);
        if self.lines.len() == 1 { self.lines.remove(0) } else { Value::Array(self.lines) }
    }

    pub(crate) fn refused(self, code: i32, why: &str) {
        assert!(self.code == Some(code) && self.errors.contains(why), "{:?}: {}", self.code, self.errors);
    }
}

impl Stack {
    /// Runs the command on the stack, with AWS credentials; `input` is its standard input.
    pub(crate) async fn cli(&self, line: &str, input: &str) -> Said {
        self.said(Command::new(rootcast().await).args(line.split(' ')).args(["--stack", "rootcast"]), input).await
    }

    /// Runs a command of the API, with the profile that `rootcast login` saved.
    pub(crate) async fn api_command(&self, line: &str) -> Said {
        self.said(Command::new(rootcast().await).args(line.split(' ')), "").await
    }

    /// As [`Self::cli`], for a command that calls the API with this token.
    pub(crate) async fn cli_as(&self, token: &str, line: &str) -> Said {
        let mut command = Command::new(rootcast().await);
        command.env("ROOTCAST_TOKEN", token).env("ROOTCAST_URL", &self.local.api_url);
        self.said(command.env("ROOTCAST_CA", &self.local.ca_pem).args(line.split(' ')), "").await
    }

    async fn said(&self, command: &mut Command, input: &str) -> Said {
        let mut child = command
            .arg("--json")
            .env("AWS_ENDPOINT_URL", &self.local.endpoint_url)
            .env("XDG_CONFIG_HOME", self.local.data.join("config"))
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The command may have ended without reading.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Said {
            code: output.status.code(),
            lines: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    async fn listed(&self) -> Vec<Value> {
        match self.cli("access list", "").await.done() {
            Value::Array(all) => all,
            one => vec![one],
        }
    }

    async fn session_of(&self, name: &str, password: &str) -> u16 {
        let body = json!({ "UserId": name, "password": password });
        self.api.send_as(None, Method::POST, "/sessions", Some(body)).await.status.as_u16()
    }
}

#[tokio::test]
async fn every_principal_is_created_with_aws_credentials() {
    Stack::run(0, async |stack| {
        let (first, second) = ("correct horse battery", "another correct horse");
        stack.cli("access add admin --password-stdin", "too short\n").await.refused(2, "15 characters");
        stack.cli("access add admin --permission export-key --password-stdin", &format!("{first}\n")).await.done();
        assert_eq!(stack.session_of("admin", first).await, 200);
        stack.cli("access add admin --password-stdin", first).await.refused(1, "exists already");

        stack.cli("access passwd admin --password-stdin", &format!("{second}\r\n")).await.done();
        assert_eq!((stack.session_of("admin", first).await, stack.session_of("admin", second).await), (401, 200));
        stack.cli("access passwd nobody --password-stdin", second).await.refused(1, "no user nobody");
        stack.cli("access grant admin --role administrator", "").await.done();
        stack.cli("access grant nobody --role reader", "").await.refused(1, "no user nobody");

        // Users without a password; one identity is added later.
        stack.cli(&format!("access add deployer --iam {ROLE}"), "").await.done();
        stack.cli(&format!("access add deployer --oidc {ISSUER} Jane"), "").await.done();
        stack.cli(&format!("access add other --iam {ROLE}"), "").await.refused(1, "belongs to deployer already");
        stack.cli("access add deployer --iam deployer", "").await.refused(2, "no ARN");
        stack.cli("access-key --principal nobody", "").await.refused(1, "no user nobody");
        let key = stack.cli("access-key --principal deployer --expires 30", "").await.done();
        let old = key["access_key"].as_str().unwrap();
        assert_eq!((&key["principal"], key["secret_key"].as_str().unwrap().len()), (&json!("deployer"), 40));
        let next = stack.cli(&format!("access rotate-key {old} --overlap 1"), "").await.done();
        let new = next["access_key"].as_str().unwrap();
        assert!(next["principal"] == "deployer" && next["secret_key"] != key["secret_key"] && old != new);
        let ends = async |id: &str| {
            let id: AccessKeyId = id.parse().unwrap();
            stack.ledger.access_key(&id).await.unwrap().and_then(|record| record.expires).map(|it| it.unix_timestamp())
        };
        let (old_ends, new_ends) = (ends(old).await.unwrap(), ends(new).await.unwrap());
        assert!((29 * 86_400..=30 * 86_400).contains(&(new_ends - old_ends)), "{old_ends} {new_ends}");
        assert_eq!(json!(new_ends), next["expires"]);

        let all = stack.listed().await;
        let names: Vec<_> = all.iter().map(|each| each["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["admin", "deployer", "tests"], "tests is no principal, and has a token");
        let kinds = |line: &Value| {
            let credentials = line["credentials"].as_array().unwrap().iter();
            credentials.map(|each| each["credential"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((kinds(&all[0]), kinds(&all[2])), (vec!["session".to_owned()], vec!["token".to_owned()]));
        assert_eq!(kinds(&all[1]), ["access key", "access key"]);
        assert_eq!((&all[0]["password"], &all[1]["password"]), (&json!(true), &json!(false)));
        let identities = [format!("iam#{ROLE}"), format!("oidc#{ISSUER}#Jane")];
        assert_eq!(all[1]["identities"], json!(identities));
        assert_eq!(all[1]["access_keys"].as_array().unwrap().len(), 2);
        let shown = Value::Array(all).to_string();
        assert!(!shown.contains("argon2") && !shown.contains(key["secret_key"].as_str().unwrap()), "{shown}");

        stack.cli(&format!("access rotate-key {new} --overlap 0"), "").await.done();
        stack.cli(&format!("access revoke --key {old} --oidc {ISSUER} Jane"), "").await.done();
        stack.cli(&format!("access revoke --key {old}"), "").await.refused(1, "there is no key");
        let left = &stack.listed().await[1];
        assert_eq!((left["access_keys"].as_array().unwrap().len(), &left["identities"]), (1, &json!([identities[0]])));

        // Revoking a user removes all of its credentials; a later user with the same name gets none of them.
        stack.cli("access revoke deployer", "").await.done();
        stack.cli("access revoke deployer", "").await.refused(1, "no user deployer");
        assert!(
            stack.ledger.access_keys().await.unwrap().is_empty() && stack.ledger.identities().await.unwrap().is_empty()
        );
        stack.cli(&format!("access add other --iam {ROLE}"), "").await.done();
        stack.cli("access revoke admin", "").await.done();
        assert_eq!(stack.session_of("admin", second).await, 401);
    })
    .await;
}

/// With the profile of a login.
#[tokio::test]
async fn grave_commands_need_a_yes_and_errors_have_codes() {
    Stack::run(0, async |stack| {
        let (url, ca) = (&stack.local.api_url, stack.local.ca_pem.display());
        stack.api_command("device list").await.refused(6, r#""code":"notLoggedIn""#);
        stack.cli(&format!("login --url {url} --ca {ca} --role administrator"), "").await.done();
        let whoami = stack.api_command("whoami").await.done();
        assert!(
            whoami["principal"].as_str().unwrap().starts_with("iam#") && whoami["url"] == format!("{url}/"),
            "{whoami}"
        );
        stack.api_command("doctor").await.done();

        let device =
            "device add --address https://127.0.0.1:9 --device-profile dmtf --credential /rootcast/devices/shared/rack";
        let refused = stack.api_command(device).await;
        assert!(
            refused.code == Some(1) && json!(refused.lines).to_string().contains("aws ssm put-parameter"),
            "{:?}",
            refused.lines
        );
        stack.store_credential("shared/rack", "admin", "correct horse").await;
        let id = stack.api_command(device).await.done()["id"].as_str().unwrap().to_owned();
        let pin = ["AB"; 32].join(":");
        let edited = stack.api_command(&format!("device edit {id} --name dead --pin {pin}")).await.done();
        assert_eq!(
            (&edited["name"], &edited["pins"]),
            (&json!("dead"), &json!([format!("sha256:{}", "ab".repeat(32))]))
        );
        let shown = stack.api_command(&format!("device show {id}")).await.done();
        assert_eq!((&shown["state"], &shown["name"]), (&json!("approved"), &json!("dead")));
        assert_eq!(stack.api_command("device list --state pending").await.done(), json!([]));
        stack.api.get("/devices?stat=pending").await.refused(400);
        let chosen = stack.api_command("device list --state approved --query [].state").await.done();
        assert_eq!(chosen, json!("approved"));

        let rotated = stack.api_command("rotate --until publish").await.done();
        let job = rotated["job"].as_u64().unwrap();
        assert_eq!(rotated["jobPath"], format!("/signingCertificate/jobs/{job}"));
        stack.api_command("job abort").await.refused(2, &format!("not ended: {job}"));
        let abort = format!("job abort {job} --watch");
        stack.api_command(&abort).await.refused(2, "--yes");
        let status = stack.api_command("status").await.done();
        assert_eq!(status["open"][0]["id"], job);
        assert_eq!(stack.api_command(&format!("{abort} --yes")).await.code, Some(0), "a wanted abort is no failure");
        stack.api_command(&format!("job abort {job} --yes")).await.refused(1, r#""code":"FQXHMSE"#);

        stack.api_command(&format!("device delete {id}")).await.refused(2, "--yes");
        stack.api_command(&format!("device delete {id} --yes")).await.done();
        stack.api_command(&format!("device certificate {id}")).await.refused(1, "There is no device");
        stack.api_command("logout").await.done();
        stack.api_command("whoami").await.refused(6, "notLoggedIn");
        stack.cli_as("unknown==", "status").await.refused(6, r#""recovery""#);
    })
    .await;
}
