//! The operator's page in a real browser, from the sign-in to a compromise. Screenshots stay in `target/tmp/console`.

use std::path::{Path, PathBuf};

use rootcast_core::access::permission::Role;
use rootcast_core::job::JobId;
use rootcast_local::Device;
use serde_json::{Value, json};

use crate::clients;
use crate::fake::{PASSWORD, USER};
use crate::stack::{PREFIX, Stack};

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The first of the browsers that the machine has.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let programs = std::env::split_paths(&folders).flat_map(|folder| BROWSERS.map(|name| folder.join(name)));
    programs.into_iter().find(|program| program.is_file())
}

#[tokio::test]
async fn an_operator_steers_a_rollover_in_a_browser() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium is installed. `apt-get install chromium`, then run this test again.");
        return;
    };
    // As many devices as the first wave has: which of them fail is known.
    Stack::run(5, async |stack| {
        stack.found().await;
        stack.permit(json!({ "networks": ["127.0.0.0/8"] })).await;
        stack.enrol_fleet().await;
        let devices: Vec<&Device> = stack.devices().collect();
        // One device whose fingerprint nobody has compared yet.
        let pending = devices[4];
        stack.api.delete(&format!("/devices/{}", pending.id)).await;
        let mut unseen = pending.enrolment(PREFIX);
        unseen["pins"] = json!([]);
        stack.enrol(vec![unseen]).await;
        for broken in &devices[..3] {
            stack.store_credential(&broken.id, USER, PASSWORD).await;
        }
        let password = stack.principal_who_may("operator", Role::Administrator).await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/console");
        let mut given = json!({
            "user": "operator", "password": password, "part": "begin", "browser": browser,
            "axe": folder.join("axe-4.14.1.min.js"), "shots": Path::new(env!("CARGO_TARGET_TMPDIR")).join("console"),
            "pending": pending.id,
        });
        let begun = clients::run(stack, "browser", &given).await;
        let job: JobId = begun["job"].as_str().unwrap().parse().unwrap();
        for mended in &devices[..3] {
            stack.store_credential(&mended.id, &mended.username, &mended.password).await;
        }
        let generation = stack.job(job).await.generation;
        for (name, value) in
            [("part", json!("go on")), ("job", begun["job"].clone()), ("generation", json!(generation))]
        {
            given[name] = value;
        }
        let done = clients::run(stack, "browser", &given).await;
        let found: Vec<&Value> =
            [&begun, &done].into_iter().flat_map(|part| part["found"].as_array().unwrap()).collect();
        assert!(found.is_empty(), "{found:#?}");
        let log = stack.log("ConsoleFunction").await;
        assert!(!log.contains(&password), "the page wrote a password into its log");
    })
    .await;
}
