//! The local cloud: one process of ministack, an emulator of AWS's APIs, on loopback.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

use crate::{
    leash::{Leashed, Spawn},
    tools::Toolchain,
};

const POLL: Duration = Duration::from_millis(50);
/// PEM file with the authority of the front's certificate, in the stack's folder.
pub(crate) const CA: &str = "ca.pem";
/// Attempts to find a free port: another process may take the chosen port before it is used.
const PORT_ATTEMPTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) endpoint: String,
    pub(crate) port: u16,
    process: Leashed,
}

impl Cloud {
    /// Starts the local cloud on `port`, or on a free one, and waits until it answers. All of its files are below
    /// `data`, but for the services' state, if it is kept.
    pub(crate) async fn start(tools: &Toolchain, data: &Path, port: Option<u16>, state: Option<&Path>) -> Result<Self> {
        let mut refused = None;
        for _ in 0..if port.is_some() { 1 } else { PORT_ATTEMPTS } {
            let port = match port {
                Some(port) => port,
                None => free_ports(1)?[0],
            };
            match Self::start_on(tools, data, port, state).await {
                Ok(cloud) => return Ok(cloud),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.context("no port was tried")?)
    }

    async fn start_on(tools: &Toolchain, data: &Path, port: u16, state: Option<&Path>) -> Result<Self> {
        let scratch = data.join("tmp");
        std::fs::create_dir_all(&scratch).with_context(|| format!("{} cannot be made", scratch.display()))?;
        let leash = tools.scripts.join("leash.py");
        let kept = state.map(|folder| [("PERSIST_STATE", "1".into()), ("STATE_DIR", folder.into())]);
        let command = Spawn {
            python: &tools.cloud,
            arguments: vec![leash.as_os_str(), "cloud".as_ref()],
            environment: vec![
                ("GATEWAY_PORT", port.to_string().into()),
                ("BIND_HOST", "127.0.0.1".into()),
                // The host in the URLs that the local cloud returns.
                ("MINISTACK_HOST", "localhost".into()),
                ("LAMBDA_EXECUTOR", "local".into()),
                ("AWS_EC2_METADATA_DISABLED", "true".into()),
                // Disable the IoT endpoint's own listener, which binds every address on a fixed port.
                ("IOT_MTLS_ENABLED", "0".into()),
                // The functions' code is unpacked there; a second stack must not share the folder.
                ("TMPDIR", scratch.clone().into()),
                // The functions call the API by its own name, whose certificate is the front's.
                ("SSL_CERT_FILE", data.join(CA).into()),
            ]
            .into_iter()
            .chain(kept.into_iter().flatten())
            .collect(),
            talks: false,
        };
        let mut process = Leashed::start("the local cloud", command, &scratch, data.join("cloud.log"))?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::new();
        loop {
            process.still_runs()?;
            let health = http.get(format!("{endpoint}/_ministack/health")).timeout(Duration::from_secs(2)).send().await;
            if health.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(Self { endpoint, port, process });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Configuration for the AWS SDK. Ignores the user's own AWS profile and environment.
    pub(crate) fn sdk_config(&self) -> SdkConfig {
        let credentials = Credentials::new("test", "test", None, None, "rootcast-local");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    /// Kills the processes of a function and waits for their end: until then the local cloud would give them the next
    /// invocation. They are children of the local cloud and are found by the environment that Lambda sets.
    pub(crate) async fn crash(&self, function: &str) -> Result<usize> {
        let parent = self.process.id().context("the local cloud has ended")?;
        let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().await?;
        let variable = format!("AWS_LAMBDA_FUNCTION_NAME={function}");
        let mut killed = 0;
        for pid in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            let environment = tokio::fs::read(format!("/proc/{pid}/environ")).await.unwrap_or_default();
            let runs_it = environment.split(|&byte| byte == 0).any(|known| known == variable.as_bytes());
            if runs_it && Command::new("kill").args(["-KILL", pid]).status().await?.success() {
                ended(pid).await;
                killed += 1;
            }
        }
        Ok(killed)
    }

    /// A function's log, newest line last: one page of CloudWatch's `FilterLogEvents`.
    pub(crate) async fn log(&self, function: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Page {
            events: Vec<Line>,
        }
        #[derive(Deserialize)]
        struct Line {
            message: String,
        }
        let page: Page = reqwest::Client::new()
            .post(&self.endpoint)
            .header("x-amz-target", "Logs_20140328.FilterLogEvents")
            .header("content-type", "application/x-amz-json-1.1")
            .body(json!({"logGroupName": format!("/aws/lambda/{function}"), "limit": 10_000}).to_string())
            .send()
            .await?
            .error_for_status()
            .with_context(|| format!("{function} has no log"))?
            .json()
            .await?;
        Ok(page.events.iter().map(|line| line.message.trim_end()).collect::<Vec<_>>().join("\n"))
    }

    pub(crate) async fn end(self) -> Result<()> {
        self.process.end().await
    }
}

/// Waits until a killed process runs no more: its parent may not have read its exit status yet, and it is a zombie then.
async fn ended(pid: &str) {
    while let Ok(status) = tokio::fs::read_to_string(format!("/proc/{pid}/stat")).await {
        // pid (name) state …, and a name may contain brackets
        if status.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How long a stack that was killed may take to end; the local cloud keeps its data then.
const FREED_LIMIT: Duration = Duration::from_secs(65);

/// Waits until nobody listens on a port that was kept.
pub(crate) async fn freed(port: u16, whose: &str) -> Result<()> {
    let begun = std::time::Instant::now();
    while !is_free(port) {
        if begun.elapsed() > FREED_LIMIT {
            bail!(
                "port {port} of {whose}, which a kept stack has again, is taken by another program: end that, or name another folder with --data"
            );
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Below the ports that outgoing connections get (from 32768 on, on Linux): between this look and the start of a server,
/// nobody takes one of these.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 22_000;

/// Different ports on loopback that are free now, and not given to another server of this process.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(PORTS))?;
    let next = || FIRST_PORT + start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % PORTS;
    let is_free = |port: &u16| is_free(*port);
    let ports: Vec<u16> = std::iter::repeat_with(next).take(PORTS.into()).filter(is_free).take(count).collect();
    if ports.len() < count { Err(anyhow!("no free port on loopback")) } else { Ok(ports) }
}
