//! A function's settings: environment variables, which template.yaml sets.

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
