//! `rootcast --version` says from which commit it was built.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=ROOTCAST_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = env::var("ROOTCAST_COMMIT").ok().filter(|commit| !commit.is_empty()).or_else(of_checkout);
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let version = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=ROOTCAST_VERSION={version}");
}

/// `None` without git, or outside of a checkout: a source archive, say.
fn of_checkout() -> Option<String> {
    // Written by each commit and each checkout.
    println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])?);
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
