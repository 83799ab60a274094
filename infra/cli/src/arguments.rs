//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use url::Url;

use crate::{
    access::AccessCommand,
    access_key::AccessKey,
    anchor::AnchorCommand,
    audit::AuditCommand,
    certificate::CertificateCommand,
    completion::Completion,
    curl::Routes,
    device::DeviceCommand,
    exit::Usage,
    issuance_policy::IssuancePolicyCommand,
    issuing::IssuingCommand,
    job::JobCommand,
    local::Local,
    login::Login,
    output::{self, Format, Output, Query, Shape},
    request::RequestCommand,
    restore::Restore,
    retry::Retry,
    rollout::RolloutCommand,
    root::RootCommand,
    rotate::Rotate,
};

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed, refused or aborted
    2  used wrongly
    3  the job is paused and waits for you
    4  the API cannot be reached, or you may not do that
    5  nothing is done yet: a second person has to confirm it
    6  not logged in, or the token has expired: rootcast login
  130  interrupted";

/// Moves a fleet of devices from one root certificate to the next.
#[derive(Debug, Parser)]
#[command(name = "rootcast", version = env!("ROOTCAST_VERSION"), after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) access: AccessArguments,
    #[command(flatten)]
    pub(crate) format: FormatArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which API, and as which user. The token is never an argument: every user of a machine can see arguments.
#[derive(Debug, Args)]
pub(crate) struct AccessArguments {
    /// Base address of the API, instead of the profile's
    #[arg(long, env = "ROOTCAST_URL", global = true, value_name = "URL")]
    pub(crate) url: Option<Url>,
    /// PEM file with the only certificates to trust for the API, instead of the system's
    #[arg(long, env = "ROOTCAST_CA", global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Which login to use, one for each stack, say: a name in $XDG_CONFIG_HOME/rootcast, or the path of a file.
    /// $ROOTCAST_TOKEN takes precedence over its token
    #[arg(
        long = "profile",
        alias = "login-profile",
        id = "login-profile",
        env = "ROOTCAST_PROFILE",
        global = true,
        default_value = "default",
        value_name = "NAME"
    )]
    pub(crate) profile: PathBuf,
    /// Where a second person is needed: wait until one has confirmed it, and then carry it out
    #[arg(long, global = true)]
    pub(crate) until_confirmed: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArguments {
    /// Form of the results; errors are JSON on standard error, too, unless it is table
    #[arg(long, short, global = true, value_name = "FORM", value_enum)]
    output: Option<Output>,
    /// Short for --output jsonl
    #[arg(long, global = true, conflicts_with = "output")]
    json: bool,
    /// Choose from the result with an expression of JMESPath, as in '[].id'; as JSON, unless --output says otherwise
    #[arg(long, global = true, value_name = "EXPRESSION")]
    query: Option<Query>,
    /// Print results and errors only, no remarks
    #[arg(long, short, global = true)]
    quiet: bool,
}

impl FormatArguments {
    /// Says it to [`output`].
    pub(crate) fn begin(self) -> Result<Format, Usage> {
        let output = match (self.output, self.json, &self.query) {
            (Some(Output::Table), _, Some(_)) => {
                return Err(Usage("--query needs --output json, jsonl or yaml".to_owned()));
            }
            (Some(output), ..) => output,
            (None, true, _) => Output::Jsonl,
            (None, false, Some(_)) => Output::Json,
            (None, false, None) => Output::Table,
        };
        output::begin(Shape { output, query: self.query }, self.quiet);
        Ok(if output == Output::Table { Format::Text } else { Format::Json })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a token with your AWS credentials and save it as a profile
    Login(Login),
    /// Show what runs, what failed, and what ends soon
    Status,
    /// Show whose token you have, and until when
    Whoami,
    /// Revoke your token, and remove it from the profile
    Logout,
    /// Open the operator's page in a browser, and print its address
    Open,
    /// Find out why the API does not do what it is asked: profile, address, clock, token, rights, paused jobs
    Doctor,
    /// Manage API users and their credentials, with your AWS credentials
    #[command(subcommand)]
    Access(AccessCommand),
    /// Create an access key for a client that signs its requests, with your AWS credentials
    AccessKey(AccessKey),
    /// Enrol, list and approve devices
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Create a new root and bring it to every approved device
    Rotate(Rotate),
    /// Store rollouts under a name: waves, windows and order
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Show and control rollovers and deployments
    #[command(subcommand)]
    Job(JobCommand),
    /// Confirm or reject what others may not do alone
    #[command(subcommand)]
    Request(RequestCommand),
    /// Retry the failed devices of a job: all, or by class, wave or device
    Retry(Retry),
    /// Import certificates and deploy them to devices; list and revoke what our authorities signed
    #[command(subcommand)]
    Certificate(CertificateCommand),
    /// Show who did what to a job, certificate or root, and verify the record
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Show the root certificates and verify the bundle
    #[command(subcommand)]
    Root(RootCommand),
    /// List, add and remove the certificates of others that the devices trust
    #[command(subcommand)]
    Anchor(AnchorCommand),
    /// Show, replace and revoke the authorities below the roots that sign device certificates
    #[command(subcommand)]
    Issuing(IssuingCommand),
    /// Show and set which names device certificates may have
    #[command(subcommand)]
    IssuancePolicy(IssuancePolicyCommand),
    /// List the API's routes, or print curl for one; with --json, the OpenAPI document
    Api(Routes),
    /// Print the completion script of a shell
    Completion(Completion),
    /// Repair the counters after tables were lost or restored, with your AWS credentials
    Restore(Restore),
    /// Run the whole stack on this machine, with emulated devices and two rollovers
    Local(Local),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

    use clap::{CommandFactory, Parser, error::ErrorKind};

    use super::{Arguments, Command};
    use crate::job::JobCommand;

    fn refused(line: &str) -> ErrorKind {
        Arguments::try_parse_from(line.split_whitespace()).unwrap_err().kind()
    }

    #[test]
    fn the_command_definition_is_valid() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_exit_codes_are_in_the_help() {
        assert!(Arguments::command().render_help().to_string().contains("3  the job is paused"));
    }

    #[test]
    fn every_command_in_the_readmes_exists() {
        let pages = [
            include_str!("../README.md"),
            include_str!("../../../README.md"),
            include_str!("../../../functions/shared/core/src/audit/README.md"),
        ];
        let lines: Vec<_> = pages.iter().flat_map(|page| page.lines()).filter(|l| l.starts_with("rootcast ")).collect();
        assert!(lines.len() > 15, "{lines:?}");
        for line in lines {
            let words: Vec<_> = line.split(" #").next().unwrap().split_whitespace().collect();
            // `job show|watch` stands for two commands.
            for choice in words.get(2).into_iter().flat_map(|word| word.split('|')) {
                let command = words.iter().enumerate().map(|(at, word)| if at == 2 { choice } else { word });
                let refused = Arguments::try_parse_from(command).err().map(|error| error.kind());
                let unknown = [ErrorKind::InvalidSubcommand, ErrorKind::UnknownArgument].map(Some);
                assert!(!unknown.contains(&refused), "{choice} in {line}: {refused:?}");
            }
        }
    }

    #[test]
    fn a_job_id_may_be_left_out() {
        let parse = |line: &str| match Arguments::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Job(JobCommand::Watch(which)) => which.id.map(|id| id.0),
            other => panic!("{other:?}"),
        };
        assert_eq!(parse("rootcast job watch 7"), Some(7));
        assert_eq!(parse("rootcast job watch --json"), None);
    }

    #[test]
    fn users_get_roles_grants_and_permissions() {
        let given = r"--permission export-key --permission export-key --role reader --grant \VED\Policy\Web=read,write";
        for command in ["login --principal me", "access add ops"] {
            let line = format!("rootcast {command} --stack s {given}");
            assert!(Arguments::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
    }

    #[test]
    fn invalid_combinations_are_usage_errors() {
        assert_eq!(refused("rootcast job watch seven"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast rotate --error-budget 101"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast rotate --canary 0"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast device approve"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast device approve a --all-pending"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("rootcast device approve a --fingerprint sha256:00"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast device add --id a"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast job waive 7 --device a"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast login --principal me"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast login --stack s --principal me --permission all"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast login --stack s --principal me --role root"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast access add ops --stack s --grant Web=read"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast access add ops"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast access add local:ops --stack s"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast access add ops --stack s --password secret"), ErrorKind::UnknownArgument);
        assert_eq!(refused("rootcast access add ops --stack s --iam ops"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast access add ops --stack s --oidc https://x"), ErrorKind::WrongNumberOfValues);
        assert_eq!(refused("rootcast access revoke --stack s"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast access revoke ops --stack s --oidc https://x y"), ErrorKind::ArgumentConflict);
        assert_eq!(refused("rootcast access rotate-key AKID --stack s"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast access passwd --stack s"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast certificate revoke 7"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast audit certificate 7"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast audit verify a --head 00"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast access-key --principal me"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast request confirm 7"), ErrorKind::ValueValidation);
        assert_eq!(refused("rootcast request reject"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast restore"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast access-key --stack s"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused("rootcast access-key --stack s --principal me --expires 0"), ErrorKind::ValueValidation);
        assert_eq!(Arguments::try_parse_from(["rootcast", "job", "watch", "x"]).unwrap_err().exit_code(), 2);
    }
}
