#![doc = include_str!("../README.md")]

mod access;
mod access_key;
mod allowed;
mod anchor;
mod api;
mod arguments;
mod ask;
mod audit;
mod certificate;
mod completion;
mod curl;
mod device;
mod doctor;
mod exit;
mod issuance_policy;
mod issuing;
mod job;
mod local;
mod login;
mod open;
mod output;
mod preflight;
mod profile;
mod request;
mod restore;
mod retry;
mod rollout;
mod root;
mod rotate;
mod seen;
mod session;
mod stack;
mod status;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::{
    api::Api,
    arguments::{AccessArguments, Arguments, Command},
    exit::End,
    output::Format,
};

/// Runs the command that is given by the process's arguments.
pub async fn run() -> ExitCode {
    // The provider for reqwest, which is built without one. An error means that the same one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let line: Vec<_> = std::env::args_os().collect();
    let Arguments { access, format, command } = match Arguments::try_parse_from(&line) {
        Ok(arguments) => arguments,
        Err(error) => {
            let line: Vec<_> = line.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            return exit::misused(&error, &line);
        }
    };
    let format = match format.begin() {
        Ok(format) => format,
        Err(misuse) => return exit::explain(&misuse.into(), Format::Text),
    };
    match execute(access, command, format).await {
        Ok(end) => end.into(),
        Err(error) => exit::explain(&error, format),
    }
}

async fn execute(access: AccessArguments, command: Command, format: Format) -> Result<End> {
    let api = || anyhow::Ok(Api::connect(&access.resolve()?)?.patient(access.until_confirmed));
    match command {
        Command::Login(login) => login::run(&access, login, format).await,
        Command::Status => status::run(&api()?, format).await,
        Command::Whoami => session::whoami(&access, format).await,
        Command::Logout => session::logout(&access, format).await,
        Command::Open => open::run(&access, format),
        Command::Doctor => doctor::run(&access, format).await,
        Command::Access(command) => access::run(command, format).await,
        Command::AccessKey(access_key) => access_key::run(access_key, format).await,
        Command::Device(command) => device::run(&api()?, command, format).await,
        Command::Request(command) => request::run(&api()?, command, format).await,
        Command::Rotate(rotate) => rotate::run(&api()?, rotate, format).await,
        Command::Job(command) => job::run(&api()?, command, format).await,
        Command::Api(routes) => curl::run(&routes, format),
        Command::Completion(shell) => completion::run(&shell),
        Command::Restore(restore) => restore::run(restore, format).await,
        Command::Retry(retry) => retry::run(&api()?, retry, format).await,
        Command::Certificate(command) => certificate::run(&api()?, command, format).await,
        Command::Audit(command) => {
            let source = || Ok(audit::Source { api: api()?, url: access.resolve()?.url, profile: access.file()? });
            audit::run(source, command, format).await
        }
        Command::Root(command) => root::run(&access, command, format).await,
        Command::Rollout(command) => rollout::run(&api()?, command, format).await,
        Command::IssuancePolicy(command) => issuance_policy::run(&api()?, command, format).await,
        Command::Anchor(command) => anchor::run(&api()?, command, format).await,
        Command::Issuing(command) => issuing::run(&api()?, command, format).await,
        Command::Local(options) => local::run(options, format).await,
    }
}
