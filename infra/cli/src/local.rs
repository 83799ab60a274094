//! `rootcast local`: the whole stack on this machine, and the proof from the devices' side.
//!
//! Each operator step (log in, enrol, approve, request a root, watch) runs the code of the operator's own command,
//! through the API's TLS front.

mod environment;
mod issue;
mod proof;
mod steps;

use std::{collections::HashMap, io::IsTerminal, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::Method;
use rootcast_core::access::permission::Role;
use rootcast_core::access::token::{LONGEST, Token};
use rootcast_core::device::{DeviceId, Pin};
use rootcast_core::job::Phase;
use rootcast_dialects::native::{Device, Enrolment, Standing};
use rootcast_local::{ImageServer, LocalOptions, LocalStack, store_credentials};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::steps::Steps;
use crate::{
    access::callers,
    allowed::Allowed,
    api::Api,
    device::{add, approve},
    exit::End,
    job, login,
    output::{Format, note, out},
    rotate::{self, Rotate},
};

const STACK: &str = "rootcast";
/// Who signs in at the page.
const PAGE_USER: &str = "operator";
/// Fakes of OpenBMC in the demo fleet: one for a certificate of its own, one for an imported one.
const FAKES: usize = 2;
/// The default of template.yaml's `CredentialPrefix`.
const CREDENTIAL_PREFIX: &str = "/rootcast/devices/";

#[derive(Debug, Args)]
pub(crate) struct Local {
    /// Number of emulated devices, of some 15 MB each; a kept stack has those that it had
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=500))]
    devices: u16,
    /// Stay up until Ctrl-C (the default at a terminal), and keep everything for the next start, in --data or else in
    /// ~/.local/share/rootcast/local
    #[arg(long)]
    keep: bool,
    /// Begin with nothing where a stack was kept
    #[arg(long)]
    anew: bool,
    /// Port of the API on localhost (default: a free one)
    #[arg(long)]
    port: Option<u16>,
    /// Folder where everything is kept (default: a temporary one): a stack that starts there again goes on with its devices, jobs
    /// and roots
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Start nothing, but print what a shell needs to use the stack that runs: eval "$(rootcast local --env)"
    #[arg(long, conflicts_with_all = ["devices", "keep", "anew", "port"])]
    env: bool,
}

pub(crate) async fn run(local: Local, format: Format) -> Result<End> {
    if local.env {
        out!("{}", environment::running(local.data.as_deref())?.trim_end());
        return Ok(End::Done);
    }
    let steps = Steps::begin();
    let mut interrupt = Interrupt::listen()?;
    let mut options = LocalOptions::new(local.devices.into(), steps.progress())?;
    STACK.clone_into(&mut options.stack);
    options.api_port = local.port;
    options.data = match &local.data {
        None if local.keep => Some(kept_folder()?),
        data => data.clone(),
    };
    options.keep = options.data.is_some();
    options.anew = local.anew;
    options.fakes = FAKES;
    let stack = tokio::select! {
        stack = LocalStack::start(options) => stack?,
        () = interrupt.comes() => return Ok(End::Interrupted),
    };
    environment::write(&stack, &profile(&stack), STACK)?;
    let shown = tokio::select! {
        shown = async { if stack.goes_on { go_on(&stack, &steps).await } else { show(&stack, &steps, format).await } } => shown,
        () = interrupt.comes() => Ok(End::Interrupted),
    };
    match &shown {
        Ok(End::Interrupted) => {}
        Ok(_) if local.keep || std::io::stdin().is_terminal() => {
            let user = page_user(&stack).await.map(|password| format!("user {PAGE_USER}, password {password}"));
            note!("{}", how_to_go_on(&stack, &user.unwrap_or_else(|why| format!("no user could be made: {why:#}"))));
            interrupt.comes().await;
        }
        Err(_) if local.data.is_none() => note!("The logs go with the stack: --data FOLDER keeps them."),
        Ok(_) | Err(_) => {}
    }
    steps.say("ending everything");
    let ended = stack.shutdown().await;
    // The demonstration's error takes precedence over an error of the shutdown.
    let end = shown?;
    ended?;
    Ok(end)
}

/// As [`cache_folder`](rootcast_local::cache_folder), for what is not made again.
fn kept_folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let shared = variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")));
    Ok(shared.context("no folder to keep the stack in: name one with --data")?.join("rootcast/local"))
}

/// A kept stack is as its user left it; one that was ended before it had any device gets them.
async fn go_on(stack: &LocalStack, steps: &Steps) -> Result<End> {
    let api = steps.run("logged in", log_in(stack)).await?;
    let known: Vec<Device> = api.pages("/devices", &[], "devices").await?;
    if known.is_empty() {
        let devices = steps.run("devices enrolled", enrol(stack, &api)).await?;
        steps.run("devices approved", approve(stack, &api, devices)).await?;
    } else if known.iter().any(|device| device.state == Standing::Pending) {
        steps.say("some devices wait for an approval: cargo rootcast device approve --all-pending");
    }
    steps.say(&format!("goes on with what {} kept; --anew begins with nothing", stack.data.display()));
    Ok(End::Done)
}

/// Two rollovers of the whole fleet, the end of the first root, and each time the proof from the devices' side.
async fn show(stack: &LocalStack, steps: &Steps, format: Format) -> Result<End> {
    let api = steps.run("logged in", log_in(stack)).await?;
    let devices = steps.run("devices enrolled", enrol(stack, &api)).await?;
    let approved = approve(stack, &api, devices);
    steps.run("devices approved, each by the certificate that it was made with", approved).await?;

    let rollover = || rotate::run(&api, Rotate::watched_until(Phase::Activate), format);
    steps.say("first rollover: no root yet");
    let first = steps.run("first rollover over", rollover()).await?;
    if first != End::Done {
        return Ok(first);
    }
    let old = issue::server(stack, STACK).await.context("no certificate under the first root")?;
    steps.say("second rollover: a service with a certificate under the first root goes on as it is");
    let second = steps.run("second rollover over", rollover()).await?;
    if second != End::Done {
        return Ok(second);
    }
    let new = issue::server(stack, STACK).await.context("no certificate under the second root")?;
    ensure!(new.generation > old.generation, "generation {} still signs after the second rollover", old.generation);
    let mut servers = [old, new];
    let stranger = ImageServer::stranger()?;
    let proving = proof::prove(stack, &servers, &stranger);
    let proofs = steps.run("every device asked three servers for an image", proving).await?;
    let both = proof::tell(&proofs, &servers, None, format)?;
    if both != End::Done {
        return Ok(both);
    }
    steps.say("the service has another certificate: the first root leaves the devices, and its key is put out of use");
    let third = steps.run("the first root is gone", job::go_on(&api, format)).await?;
    if third != End::Done {
        return Ok(third);
    }
    servers[0].is_trusted = false;
    let proving = proof::prove(stack, &servers, &stranger);
    let proofs = steps.run("every device asked the three servers again", proving).await?;
    proof::tell(&proofs, &servers, Some(steps.total()), format)
}

async fn log_in(stack: &LocalStack) -> Result<Api> {
    let tables = callers(stack.outputs.of("AccessTable")?, stack.outputs.of("AuditTable")?);
    let (url, ca) = (stack.api_url.parse()?, stack.ca_pem.clone());
    let (_, access) =
        login::grant(&stack.sdk_config, tables, None, Allowed::of(Role::Administrator), LONGEST, url, Some(ca)).await?;
    access.save(&profile(stack))?;
    Api::connect(&access)
}

/// Enrols the devices as pending: `approve` is a separate step.
async fn enrol(stack: &LocalStack, api: &Api) -> Result<Vec<DeviceId>> {
    let devices = || stack.fleet.devices().chain(stack.fleet.fakes());
    store_credentials(&stack.sdk_config, CREDENTIAL_PREFIX, devices()).await?;
    let records = devices().map(|device| {
        let mut record = device.enrolment(CREDENTIAL_PREFIX);
        record.as_object_mut().map(|fields| fields.remove("pins"));
        record
    });
    let added = add::send(api, records.collect()).await?;
    for added in &added {
        let reason = added.message.as_deref().unwrap_or_default();
        ensure!(added.result == Enrolment::Created, "{} was not enrolled: {reason}", added.id);
    }
    added.into_iter().map(|added| Ok(added.id.to_string().parse()?)).collect()
}

/// Approves by the fingerprints with which the fleet was started, as with an inventory: the devices are not trusted
/// on first use.
async fn approve(stack: &LocalStack, api: &Api, devices: Vec<DeviceId>) -> Result<()> {
    let known = stack.fleet.devices().chain(stack.fleet.fakes()).map(|device| {
        let pin = Pin::Certificate(Fingerprint::of(&device.certificate));
        anyhow::Ok((device.id.parse()?, pin))
    });
    let judge = approve::Judge::Known(known.collect::<Result<HashMap<_, _>>>()?);
    for decision in approve::decide(api, devices, &judge, false).await? {
        ensure!(decision.is_approval(), "{}: {}", decision.id, decision.verdict.words());
    }
    Ok(())
}

fn profile(stack: &LocalStack) -> PathBuf {
    stack.data.join("profile.json")
}

/// A user for the page, whose password is new each time.
async fn page_user(stack: &LocalStack) -> Result<String> {
    let api = log_in(stack).await?;
    let mut random = [0; Token::RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let password = Token::from_random(&random).expose().trim_end_matches('=').to_owned();
    let made = json!({ "name": PAGE_USER, "password": password, "role": "administrator" });
    if api.send::<Value>(Method::POST, "/principals", &[], Some(&made)).await.is_err() {
        let path = format!("/principals/{PAGE_USER}/password");
        api.send::<Value>(Method::PUT, &path, &[], Some(&json!({ "password": password }))).await?;
    }
    Ok(password)
}

fn how_to_go_on(stack: &LocalStack, page_user: &str) -> String {
    format!(
        "\nEverything stays up until Ctrl-C. In another terminal, in this folder:\n\
         \x20 eval \"$(cargo rootcast local --env --data {0})\"\n\
         \x20 cargo rootcast status\n\
         \x20 cargo rootcast device list\n\
         \x20 cargo rootcast rotate --watch\n\
         \x20 cargo rootcast device renew openbmc-fake-1 --wait        # a certificate for a key that never leaves it\n\
         \x20 infra/local/README.md says how to deploy an imported one to openbmc-fake-2\n\
         \x20 cargo rootcast access list --stack {STACK}\n\
         The page is {1}/console: {page_user}\n\
         The API is {1} (trust {2}), AWS's are {3}; the stack is called {STACK}; logs are in {0}.",
        stack.data.display(),
        stack.api_url,
        stack.ca_pem.display(),
        stack.endpoint_url
    )
}

/// The signals by which a person or a supervisor ends a program.
struct Interrupt {
    ctrl_c: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupt {
    fn listen() -> Result<Self> {
        Ok(Self {
            ctrl_c: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn comes(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
