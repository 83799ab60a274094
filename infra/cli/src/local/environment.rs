//! What a shell needs to use a local stack.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rootcast_local::{LocalStack, cache_folder, is_running};

/// In the stack's folder.
const FILE: &str = "env";
const NONE: &str = "no local stack runs: cargo rootcast local --keep";

/// Beside the tools, for `--env` without `--data`: the folder of the stack that was started last.
fn last() -> Result<PathBuf> {
    Ok(cache_folder()?.join("local"))
}

pub(super) fn write(stack: &LocalStack, profile: &Path, name: &str) -> Result<()> {
    let file = stack.data.join(FILE);
    let addresses = Addresses { endpoint: &stack.endpoint_url, api: &stack.api_url, ca: &stack.ca_pem };
    let text = text(&addresses, profile, name);
    std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    // Without it, --data has to be said.
    let _ = last().and_then(|last| Ok(std::fs::write(last, stack.data.display().to_string())?));
    Ok(())
}

/// The lines of the stack in this folder, or of the last one.
pub(super) fn running(data: Option<&Path>) -> Result<String> {
    let data = match data {
        Some(data) => data.to_owned(),
        None => PathBuf::from(std::fs::read_to_string(last()?).context(NONE)?),
    };
    if !is_running(&data) {
        bail!("{NONE} (none in {})", data.display());
    }
    std::fs::read_to_string(data.join(FILE))
        .with_context(|| format!("the stack in {} is not ready yet", data.display()))
}

struct Addresses<'a> {
    endpoint: &'a str,
    api: &'a str,
    ca: &'a Path,
}

fn text(stack: &Addresses<'_>, profile: &Path, name: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let variables = [
        ("ROOTCAST_PROFILE", quoted(&profile.display().to_string())),
        // The stack's own outputs name an address that only AWS has: without these, `login` would save that.
        ("ROOTCAST_URL", quoted(stack.api)),
        ("ROOTCAST_CA", quoted(&stack.ca.display().to_string())),
        ("AWS_ENDPOINT_URL", quoted(stack.endpoint)),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    let lines = variables.map(|(variable, value)| format!("export {variable}={value}\n"));
    format!("# stack: {name}\n{}", lines.concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use std::path::Path;

    use super::{Addresses, running, text};

    #[test]
    fn a_shell_can_evaluate_the_lines() {
        let addresses =
            Addresses { endpoint: "http://127.0.0.1:1", api: "https://localhost:2", ca: Path::new("/it's/ca.pem") };
        let text = text(&addresses, Path::new("/it's/profile.json"), "rootcast");
        let script = format!("{text}printf %s \"$ROOTCAST_PROFILE $ROOTCAST_URL $ROOTCAST_CA $AWS_ENDPOINT_URL\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "/it's/profile.json https://localhost:2 /it's/ca.pem http://127.0.0.1:1"
        );
    }

    #[test]
    fn a_folder_without_a_stack_says_how_to_start_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(running(Some(folder.path())).unwrap_err().to_string().contains("cargo rootcast local"));
    }
}
