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
mod curl;
mod device;
mod exit;
mod issuance_policy;
mod issuing;
mod job;
mod local;
mod login;
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
mod stack;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::{
    api::Api,
    arguments::{Arguments, Command},
    exit::End,
};

/// Runs the command that is given by the process's arguments.
pub async fn run() -> ExitCode {
    // The provider for reqwest, which is built without one. An error means that the same one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match execute(Arguments::parse()).await {
        Ok(end) => end.into(),
        Err(error) => exit::explain(&error),
    }
}

async fn execute(arguments: Arguments) -> Result<End> {
    let Arguments { access, format, command } = arguments;
    let format = format.into();
    let api = || anyhow::Ok(Api::connect(&access.resolve()?)?.patient(access.until_confirmed));
    match command {
        Command::Login(login) => login::run(&access, login, format).await,
        Command::Access(command) => access::run(command, format).await,
        Command::AccessKey(access_key) => access_key::run(access_key, format).await,
        Command::Device(command) => device::run(&api()?, command, format).await,
        Command::Request(command) => request::run(&api()?, command, format).await,
        Command::Rotate(rotate) => rotate::run(&api()?, rotate, format).await,
        Command::Job(command) => job::run(&api()?, command, format).await,
        Command::Api(routes) => curl::run(&routes, format),
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
