//! The examples in the README of `functions/access`, run as they stand.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::import::pki::Bundle;
use crate::stack::Stack;

const README: &str = include_str!("../../../../functions/access/README.md");

/// The README's block in this language that has these words.
fn block(language: &str, words: &str) -> &'static str {
    let blocks = README.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix(language));
    let mut found = blocks.filter(|block| block.contains(words));
    let block = found.next().unwrap_or_else(|| panic!("the README has no {language} with {words}"));
    assert!(found.next().is_none(), "{words} is in two blocks");
    block
}

/// What the README's example for the client of `NAME.txt` prints, on both outputs, with these variables.
pub async fn python(stack: &Stack, name: &str, variables: &[(&str, &str)]) -> String {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/clients/{name}.txt"));
    let mut command = Command::new(rootcast_local::python_environment(&packages).await.unwrap());
    command.args(["-I", "-B", "-c", block("python", name)]);
    run(stack, command, variables).await
}

/// The same with the README's calls of curl.
pub async fn curl(stack: &Stack, token: &str) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", block("sh", "curl")]);
    run(stack, command, &[("ROOTCAST_TOKEN", token)]).await
}

async fn run(stack: &Stack, mut command: Command, variables: &[(&str, &str)]) -> String {
    let folder = TempDir::new().unwrap();
    let bundle = Bundle::new("www.example.com");
    fs::write(folder.path().join("fullchain.pem"), bundle.all()).unwrap();
    fs::write(folder.path().join("privkey.pem"), &bundle.key).unwrap();
    command.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
    command.env("ROOTCAST_URL", &stack.local.api_url).envs(variables.iter().copied());
    command.env("REQUESTS_CA_BUNDLE", &stack.local.ca_pem).env("CURL_CA_BUNDLE", &stack.local.ca_pem);
    let output = command.output().await.unwrap();
    [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}
