//! The stack that people start: kept and started again, and the walk of its README.

use std::path::Path;
use std::process::Stdio;

use rootcast_core::job::JobOutcome;
use rootcast_local::{LocalOptions, LocalStack, Progress};
use rootcast_pki::fingerprint::Fingerprint;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::access::cli::rootcast;
use crate::stack::Stack;

const README: &str = include_str!("../../../infra/local/README.md");

fn kept(data: &Path) -> LocalOptions {
    let mut options = LocalOptions::new(1, Progress::silent()).unwrap();
    (options.data, options.keep, options.fakes) = (Some(data.to_owned()), true, 1);
    options
}

/// What must be the same after it was started again.
async fn seen(stack: &Stack) -> Vec<Value> {
    let mut seen = vec![stack.local.api_url.clone().into()];
    for path in ["/devices", "/jobs", "/signingCertificate/details", "/v3/scm/certificates"] {
        let answer = stack.api.get(path).await.json();
        seen.push(answer);
    }
    seen
}

#[tokio::test]
async fn a_kept_stack_goes_on_with_its_devices_jobs_and_roots() {
    let data = tempfile::tempdir().unwrap();
    let before = Mutex::new(Vec::new());
    Stack::run_on(kept(data.path()), async |stack| {
        assert!(!stack.local.goes_on);
        let second = LocalStack::start(kept(data.path())).await.unwrap_err();
        assert!(second.to_string().contains("another stack runs in"), "{second:#}");
        stack.found().await;
        stack.enrol_fleet().await;
        let job = stack.put_root("").await;
        assert_eq!(stack.ended(job).await.outcome, Some(JobOutcome::Activated));
        *before.lock().await = seen(stack).await;
    })
    .await;
    let mut again = kept(data.path());
    again.devices = 3;
    Stack::run_on(again, async |stack| {
        assert!(stack.local.goes_on && stack.devices().count() == 1);
        assert_eq!(seen(stack).await, *before.lock().await);
        // Its devices have the same ports, passwords and certificates, and the roots that they held.
        let again = stack.put_root("").await;
        assert_eq!(stack.ended(again).await.outcome, Some(JobOutcome::Activated));
    })
    .await;
}

#[tokio::test]
async fn the_readmes_walk_renews_and_deploys() {
    let mut options = LocalOptions::new(0, Progress::silent()).unwrap();
    options.fakes = 2;
    Stack::run_on(options, async |stack| {
        stack.found().await;
        stack.enrol_fleet().await;
        let before: Vec<Vec<u8>> = stack.local.fleet.fakes().map(|fake| fake.certificate.clone()).collect();
        let walk = README.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
        let (first, walk) = walk.split_once('\n').unwrap();
        assert!(first.starts_with("eval "), "{first}");
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-euc", &format!("cargo() {{ shift; \"$ROOTCAST\" \"$@\"; }}\n{walk}")]);
        shell.current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        shell.env("ROOTCAST", rootcast().await).env("ROOTCAST_TOKEN", &stack.api.token);
        shell.env("ROOTCAST_URL", &stack.local.api_url).env("ROOTCAST_CA", &stack.local.ca_pem);
        let output = shell.output().await.unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{said}");
        let shown = async |id: &str| {
            let shown = stack.api.get(&format!("/devices/{id}/fingerprint")).await.response();
            shown["fingerprint"].as_str().unwrap().to_owned()
        };
        let web = pem::parse(std::fs::read(folder.path().join("web.pem")).unwrap()).unwrap();
        let print = |der: &[u8]| rootcast_core::device::Pin::Certificate(Fingerprint::of(der)).to_string();
        assert_eq!(shown("openbmc-fake-2").await, print(web.contents()), "{said}");
        assert_ne!(shown("openbmc-fake-1").await, print(&before[0]), "{said}");
    })
    .await;
}
