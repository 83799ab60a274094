//! A function's settings: environment variables, which template.yaml sets. The names of the tables are some of them.

use std::str::FromStr;

use thiserror::Error;

/// An environment that template.yaml would not make.
#[derive(Debug, Error)]
#[error("the environment variable {0} is missing or cannot be read")]
pub struct Misconfigured(pub &'static str);

/// # Errors
/// Where the variable is missing, or is not what it must be.
pub fn variable<T: FromStr>(name: &'static str) -> Result<T, Misconfigured> {
    let value = std::env::var(name).map_err(|_| Misconfigured(name))?;
    value.parse().map_err(|_| Misconfigured(name))
}

/// The names that the deployment gave the tables. A function has only those that it needs.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub certificates: Option<String>,
    pub jobs: Option<String>,
    pub devices: Option<String>,
    pub access: Option<String>,
    pub audit: Option<String>,
    /// The signed statements of the chains' heads.
    pub heads: Option<String>,
}

impl Tables {
    /// From `CERTIFICATES_TABLE`, `JOBS_TABLE`, `DEVICES_TABLE`, `ACCESS_TABLE`, `AUDIT_TABLE` and `HEADS_TABLE`.
    pub fn from_env() -> Self {
        let name = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
        Self {
            certificates: name("CERTIFICATES_TABLE"),
            jobs: name("JOBS_TABLE"),
            devices: name("DEVICES_TABLE"),
            access: name("ACCESS_TABLE"),
            audit: name("AUDIT_TABLE"),
            heads: name("HEADS_TABLE"),
        }
    }
}
