//! `rootcast device credential`: a device's user name and password, or where they lie.

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_dialects::native::{Device, Standing};
use serde_json::{Value, json};

use crate::{
    access::password,
    api::{Api, ApiError},
    exit::End,
    output::{self, Format, out},
};

#[derive(Debug, Args)]
pub(crate) struct Credential {
    #[arg(value_name = "ID")]
    device: DeviceId,
    #[command(flatten)]
    login: Login,
    /// SSM parameter with user name and password instead; the stored ones are deleted
    #[arg(long, value_name = "PARAMETER", required_unless_present = "username", conflicts_with_all = ["username", "password_stdin"])]
    parameter: Option<String>,
}

/// A password is never an argument: other users of the machine see arguments.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Its user name; the password is asked for, is sealed before it is stored, and is never shown
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from standard input, a line break at its end left out
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

impl Login {
    /// `None` without a user name.
    pub(super) async fn asked(&self) -> Result<Option<Value>> {
        let Some(username) = &self.username else { return Ok(None) };
        let password = password::read(self.password_stdin).await?;
        Ok(Some(json!({ "username": username, "password": *password })))
    }
}

pub(super) async fn run(
    api: &Api,
    Credential { device: id, login, parameter }: Credential,
    format: Format,
) -> Result<End> {
    let credential = login.asked().await?.unwrap_or_else(|| json!(parameter));
    let path = format!("/devices/{id}");
    let body = json!({ "credential": credential });
    let device: Option<Device> = api.send(Method::PATCH, &path, &[], Some(&body)).await?;
    let device = device.ok_or_else(|| ApiError::unintelligible(&path, "it has no response"))?;
    match format {
        Format::Json => output::json(&device)?,
        Format::Text if device.state == Standing::Pending => {
            out!(
                "The credential of {id} is stored. The device is pending: approve it with `rootcast device approve {id}`."
            );
        }
        Format::Text => out!("The credential of {id} is stored."),
    }
    Ok(End::Done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use clap::Parser;
    use clap::error::ErrorKind;

    use crate::arguments::Arguments;

    #[test]
    fn a_password_is_no_argument() {
        let refused = |line: &str| Arguments::try_parse_from(line.split(' ')).unwrap_err().kind();
        let of = "rootcast device credential bmc-1";
        assert_eq!(refused(&format!("{of} --username admin --password s3cret")), ErrorKind::UnknownArgument);
        assert_eq!(refused(of), ErrorKind::MissingRequiredArgument);
        assert_eq!(refused(&format!("{of} --parameter /r/b --username admin")), ErrorKind::ArgumentConflict);
        assert_eq!(refused(&format!("{of} --parameter /r/b --password-stdin")), ErrorKind::ArgumentConflict);
        for taken in ["--username admin", "--username admin --password-stdin", "--parameter /r/b"] {
            Arguments::try_parse_from(format!("{of} {taken}").split(' ')).unwrap();
        }
    }
}
