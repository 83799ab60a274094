//! The parts together: a local cloud, a template in it, the TLS front, and devices. Under a minute.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    bootstraps::{Package, zipped},
    cloud::Cloud,
    deploy,
    fleet::{Device, Fleet, Size, store_credentials},
    front,
    progress::Progress,
    proof::{Download, ImageServer, prove},
    stack::parameters,
    tls::Authority,
    tools::{Toolchain, cache_folder, project_folder},
};

async fn tools() -> Toolchain {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Toolchain::prepare(&project_folder().unwrap(), &cache_folder().unwrap(), &Progress::silent()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_reach_the_function_unchanged() {
    let tools = tools().await;
    let data = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&tools, data.path(), None, None).await.unwrap();
    let parameters = parameters(&Default::default(), &cloud.endpoint);
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rehearsal/echo.yaml");
    let template = deploy::translate(&tools, &template, &parameters).await.unwrap();
    let package = Package::new("echo", zipped(include_bytes!("rehearsal/echo.py")).unwrap());
    let config = cloud.sdk_config();
    let outputs = deploy::create(&config, "rehearsal", template, &[package], &parameters).await.unwrap();
    let authority = Authority::new("Rehearsal").unwrap();
    let identity = authority.issue("localhost").unwrap();
    let front = front::start(&cloud.endpoint, outputs.of("ApiId").unwrap(), &identity, None).unwrap();

    let trusted = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([trusted.clone()]).build().unwrap();
    let old = reqwest::Client::builder().tls_certs_only([trusted]).http1_only().build().unwrap();
    let url = format!("https://localhost:{}", front.port);

    let answer =
        client.get(format!("{url}/devices/a%2Fb?x=%2F&y=a+b&y=\\VED")).bearer_auth("t==").send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    let event: Value = answer.json().await.unwrap();
    assert_eq!(event["routeKey"], "$default");
    assert_eq!(event["rawPath"], "/devices/a/b", "API Gateway decodes the path, too");
    assert_eq!(event["rawQueryString"], "x=%2F&y=a+b&y=\\VED");
    assert_eq!(event["headers"]["host"], format!("localhost:{}", front.port));
    assert_eq!(event["headers"]["authorization"], "Bearer t==");

    let signed = old
        .put(format!("{url}/signingCertificate"))
        .header("host", "scm.example.com")
        .header("content-type", "application/json");
    let event: Value = signed.body("{\"a\": \"\\\\VED\"}\n").send().await.unwrap().json().await.unwrap();
    assert_eq!(event["routeKey"], "PUT /signingCertificate");
    assert_eq!(event["headers"]["host"], "scm.example.com");
    assert_eq!(event["body"], "{\"a\": \"\\\\VED\"}\n");

    let too_much = client.post(&url).body(vec![b'x'; 11 << 20]).send().await.unwrap();
    assert_eq!(too_much.status(), 413);

    assert!(cloud.log("echo").await.unwrap().contains("an echo runs"), "what a function prints can be read");
    assert_eq!(cloud.crash("echo").await.unwrap(), 1);
    assert_eq!(cloud.crash("another").await.unwrap(), 0);
    assert!(client.get(&url).send().await.unwrap().status().is_success(), "the next invocation gets a new process");

    front.end().await.unwrap();
    let endpoint = cloud.endpoint.clone();
    cloud.end().await.unwrap();
    assert!(client.get(endpoint).send().await.unwrap_err().is_connect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_accepts_certificates_that_chain_to_its_trust_store() {
    let tools = tools().await;
    let data = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(&tools, data.path(), Size { emulated: 2, fakes: 0 }, &Progress::silent()).await.unwrap();
    let device = fleet.device("bmc-0001").unwrap();
    let authority = Authority::new("The new root").unwrap();
    let leaf = authority.issue("image server").unwrap();
    let ours = ImageServer::start(leaf.chain, leaf.key).unwrap();
    let stranger = ImageServer::stranger().unwrap();

    assert_eq!(prove(device, &ours.image_url()).await.unwrap(), Download::Refused, "not yet trusted");
    trust(device, &authority.pem()).await;
    assert_eq!(prove(device, &ours.image_url()).await.unwrap(), Download::Accepted);
    assert_eq!(prove(device, &stranger.image_url()).await.unwrap(), Download::Refused);

    fleet.stop(&device.id).await.unwrap();
    prove(device, &ours.image_url()).await.unwrap_err();
    fleet.run(&device.id).await.unwrap();
    assert_eq!(prove(device, &ours.image_url()).await.unwrap(), Download::Accepted, "it remembers");

    fleet.hang(&device.id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), prove(device, &ours.image_url())).await.unwrap_err();
    fleet.resume(&device.id).await.unwrap();
    assert_eq!(prove(device, &ours.image_url()).await.unwrap(), Download::Accepted);
    assert!(fleet.hang("bmc-0003").await.is_err());

    fleet.hang("bmc-0002").await.unwrap();
    let hanging = fleet.device("bmc-0002").unwrap().clone();
    fleet.end().await.unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", hanging.port)).await.is_err(), "a hanging one ends, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_stored_where_the_worker_reads_them() {
    let tools = tools().await;
    let data = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&tools, data.path(), None, None).await.unwrap();
    let fleet = Fleet::start(&tools, data.path(), Size { emulated: 1, fakes: 0 }, &Progress::silent()).await.unwrap();
    store_credentials(&cloud.sdk_config(), "/rootcast/devices/", fleet.devices()).await.unwrap();
    let store = aws_sdk_ssm::Client::new(&cloud.sdk_config());
    let found = store.get_parameters().names("/rootcast/devices/bmc-0001").with_decryption(true).send().await.unwrap();
    let value: Value = serde_json::from_str(found.parameters()[0].value().unwrap()).unwrap();
    assert_eq!(value["password"], fleet.device("bmc-0001").unwrap().password);
    fleet.end().await.unwrap();
    cloud.end().await.unwrap();
}

async fn trust(device: &Device, pem: &str) {
    let slot = format!("{}/redfish/v1/Systems/{}/VirtualMedia/Cd/Certificates", device.address(), device.system);
    let posted = device
        .client()
        .unwrap()
        .post(slot)
        .basic_auth(&device.username, Some(&device.password))
        .json(&json!({"CertificateString": pem, "CertificateType": "PEM"}));
    assert!(posted.send().await.unwrap().status().is_success());
}
