//! `rootcast open`: the operator's page, in a browser.

use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::json;
use url::Url;

use crate::{
    arguments::AccessArguments,
    ask,
    exit::End,
    output::{self, Format, note, out},
};

/// The address is printed in any case: a browser may be on another machine.
pub(crate) fn run(arguments: &AccessArguments, format: Format) -> Result<End> {
    let url = page(arguments.address()?);
    match format {
        Format::Json => output::json(&json!({ "url": url }))?,
        Format::Text => {
            out!("{url}");
            if ask::is_possible() && !is_started(&url) {
                note!("No browser could be started here: open that address in one.");
            }
        }
    }
    Ok(End::Done)
}

fn page(mut api: Url) -> Url {
    let path = format!("{}/console", api.path().trim_end_matches('/'));
    api.set_path(&path);
    api
}

fn is_started(url: &Url) -> bool {
    let chosen = std::env::var("BROWSER").ok().filter(|browser| !browser.is_empty());
    let usual = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut browser = Command::new(chosen.as_deref().unwrap_or(usual));
    let browser = browser.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    browser.spawn().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::page;

    #[test]
    fn the_page_is_below_the_apis_address() {
        for (api, expected) in [
            ("https://pki.example", "https://pki.example/console"),
            ("https://localhost:8443/", "https://localhost:8443/console"),
            ("https://pki.example/ca/", "https://pki.example/ca/console"),
        ] {
            assert_eq!(page(api.parse().unwrap()).as_str(), expected);
        }
    }
}
