//! The vendors' own clients, unchanged, against the stack.

mod huaweicloud;
mod pylxca;
mod pyvenafi;
mod readme;
mod schemathesis;

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::stack::Stack;

/// Runs `NAME.py` in an environment with the packages of `NAME.txt`. Its standard input is a JSON object with the
/// API's address, the file of the certificate to trust, and `input`; its last line of output is JSON.
pub async fn run(stack: &Stack, name: &str, input: &Value) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients");
    let python = rootcast_local::python_environment(&folder.join(format!("{name}.txt"))).await.unwrap();
    let mut child = Command::new(python)
        .args(["-I", "-B"])
        .arg(folder.join(format!("{name}.py")))
        .arg(&stack.local.api_url)
        .arg(&stack.local.ca_pem)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut standard_input = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut standard_input, input.to_string().as_bytes()).await.unwrap();
    drop(standard_input);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}
