//! Readers in Python: cryptography's verifier for the web's profile, and pyhanko's validator.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// `None` if accepted, else the reason.
pub(crate) type Verdict = Option<String>;

/// What a reader judges.
pub(crate) fn bundle(leaf: &[u8], others: &[&[u8]], anchors: &[&[u8]], key: Option<&str>) -> Value {
    let texts = |ders: &[&[u8]]| ders.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>();
    json!({"leaf": STANDARD.encode(leaf), "others": texts(others), "anchors": texts(anchors), "key": key})
}

/// Python cryptography's verdicts.
pub(crate) async fn python(bundles: Vec<Value>, now: OffsetDateTime) -> Vec<Verdict> {
    reader("readers", bundles, now).await
}

/// Those of pyhanko, which looks for a path among all that is sent.
pub(crate) async fn pyhanko(bundles: Vec<Value>, now: OffsetDateTime) -> Vec<Verdict> {
    reader("paths", bundles, now).await
}

async fn reader(name: &str, bundles: Vec<Value>, now: OffsetDateTime) -> Vec<Verdict> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/import_readers").join(name);
    let python = rootcast_local::python_environment(&file.with_extension("txt")).await.unwrap();
    let count = bundles.len();
    let asked = json!({"now": now.unix_timestamp(), "bundles": bundles}).to_string();
    let answered = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(python);
        command.args(["-I", "-B"]).arg(file.with_extension("py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = answered.await.unwrap();
    assert!(output.status.success(), "{}", output.status);
    let reasons: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reasons.len(), count);
    reasons.into_iter().map(|reason| (!reason.is_empty()).then_some(reason)).collect()
}
