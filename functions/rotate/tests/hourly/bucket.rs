//! Copies of the statements in the auditors' bucket: each arrives, whatever happens between table and bucket.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_lc_rs::hmac;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rootcast_pki::fingerprint::Fingerprint;
use rotate::bucket::Bucket;

use crate::heads::{HOUR, Shared, World, attempt, lock, run};
use crate::later;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const HOST: &str = "audit.s3.eu-central-1.amazonaws.com";
const FOLDER: &str = "/rootcast/eu-central-1/rootcast/heads/";

/// A bucket with object lock.
#[derive(Default)]
pub(crate) struct S3 {
    /// By their names after the folder.
    objects: BTreeMap<String, String>,
    /// Each for one request, which is not carried out.
    answers: VecDeque<u16>,
    asked: usize,
}

struct Connector(Shared);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("S3")
    }
}

pub(crate) fn bucket(world: &Shared) -> Bucket {
    Bucket {
        http: SharedHttpConnector::new(Connector(Arc::clone(world))),
        credentials: SharedCredentialsProvider::new(credentials()),
        region: "eu-central-1".to_owned(),
        address: format!("https://{HOST}{FOLDER}"),
    }
}

fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", SECRET, Some("session".to_owned()), None, "test")
}

/// The signature that S3 computes, by its documentation and without the SDK:
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>
fn authorization(request: &HttpRequest) -> String {
    let header = |name: &str| request.headers().get(name).unwrap_or_default().to_owned();
    let content = Fingerprint::of(request.body().bytes().unwrap());
    assert_eq!(header("x-amz-content-sha256"), content.to_string());
    assert_eq!(header("x-amz-checksum-sha256"), BASE64_STANDARD.encode(content.as_bytes()));
    let path = request.uri().split_once(HOST).unwrap().1;
    let names =
        "host;if-none-match;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date;x-amz-security-token".to_owned();
    let lines = names.split(';').map(|name| match name {
        "host" => format!("host:{HOST}\n"),
        name => format!("{name}:{}\n", header(name)),
    });
    let canonical = format!("PUT\n{path}\n\n{}\n{names}\n{content}", lines.collect::<String>());
    let time = header("x-amz-date");
    let scope = format!("{}/eu-central-1/s3/aws4_request", &time[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", Fingerprint::of(canonical.as_bytes()));
    let parts = scope.split('/').chain([text.as_str()]);
    let signature = parts.fold(format!("AWS4{SECRET}").into_bytes(), |key, part| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec()
    });
    let signature = Fingerprint::from_bytes(signature.try_into().unwrap());
    format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, Signature={signature}")
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut world = lock(&self.0);
        // Whether the answer is lost or the request is: both happen.
        let (before, after) = (world.is_gone(), world.is_gone());
        let s3 = world.s3.as_mut().unwrap();
        s3.asked += 1;
        let name = request.uri().split_once(FOLDER).unwrap().1.to_owned();
        let content = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
        assert_eq!((request.method(), request.headers().get("if-none-match")), ("PUT", Some("*")));
        let (status, code) = if request.headers().get("authorization") != Some(&authorization(&request)) {
            (403, "SignatureDoesNotMatch")
        } else if let Some(status) = s3.answers.pop_front() {
            (status, "AccessDenied")
        } else if let Entry::Vacant(free) = s3.objects.entry(name) {
            if !before {
                free.insert(content);
            }
            (200, "")
        } else {
            (412, "PreconditionFailed")
        };
        if before || after {
            return HttpConnectorFuture::ready(Err(ConnectorError::io("gone".into())));
        }
        let body = format!("<Error><Code>{code}</Code><StringToSign>{SECRET}</StringToSign></Error>");
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body))))
    }
}

fn world() -> Shared {
    let world = World::shared();
    lock(&world).s3 = Some(S3::default());
    lock(&world).act(1);
    world
}

/// The bucket has each statement, once, under its number and SHA-256. Returns how many.
fn all_copied(world: &Shared) -> usize {
    let world = lock(world);
    let names = world.statements.iter().map(|(sort, jws)| {
        let number = sort.strip_prefix("statement#").unwrap();
        (format!("{}/{number}-{}.jws", world.key_folder(), Fingerprint::of(jws.as_bytes())), jws.clone())
    });
    assert_eq!(world.s3.as_ref().unwrap().objects, names.collect());
    world.statements.len()
}

fn asked(world: &Shared) -> usize {
    std::mem::take(&mut lock(world).s3.as_mut().unwrap().asked)
}

fn answer(world: &Shared, statuses: &[u16]) {
    lock(world).s3.as_mut().unwrap().answers.extend(statuses);
}

#[tokio::test]
async fn each_statement_is_put_into_the_bucket_once() {
    let world = world();
    for hour in 1..=3 {
        assert!(run(&world).await);
        assert_eq!((all_copied(&world), asked(&world)), (hour, 1));
        later(HOUR);
    }
}

#[tokio::test]
async fn a_bucket_named_later_gets_the_earlier_statements() {
    let world = world();
    let s3 = lock(&world).s3.take();
    for _ in 0..45 {
        assert!(run(&world).await);
        later(HOUR);
    }
    lock(&world).s3 = s3;
    assert!(run(&world).await);
    assert_eq!((all_copied(&world), asked(&world)), (46, 46));
}

#[tokio::test]
async fn what_is_in_the_bucket_already_is_no_error() {
    let world = world();
    assert!(run(&world).await);
    lock(&world).copied = None;
    later(HOUR);
    assert!(run(&world).await);
    assert_eq!((all_copied(&world), asked(&world)), (2, 3));
    assert!(lock(&world).copied.is_some());
}

#[tokio::test]
async fn an_error_that_passes_is_tried_again_at_once() {
    for status in [409, 429, 500, 503] {
        let world = world();
        answer(&world, &[status, status]);
        assert!(run(&world).await, "{status}");
        assert_eq!((all_copied(&world), asked(&world)), (1, 3));
    }
}

#[tokio::test]
async fn what_the_bucket_refused_is_put_by_the_next_run() {
    for (statuses, asks) in [(&[500, 500, 500][..], 3), (&[403][..], 1), (&[301][..], 1), (&[404][..], 1)] {
        let world = world();
        answer(&world, statuses);
        let error = attempt(&world).await.unwrap_err().to_string();
        let folder = lock(&world).key_folder();
        let told = format!("{} AccessDenied to https://{HOST}{FOLDER}{folder}/000000000001-", statuses[0]);
        assert!(error.contains(&told) && !error.contains(SECRET), "{error}");
        assert_eq!(asked(&world), asks);
        assert_eq!(lock(&world).statements.len(), 1, "it is signed and stored all the same");
        later(HOUR);
        assert!(run(&world).await);
        assert_eq!((all_copied(&world), asked(&world)), (2, 2));
    }
}

#[tokio::test]
async fn a_run_ending_between_table_and_bucket_is_caught_up() {
    for left in 0..60 {
        let world = world();
        assert!(run(&world).await);
        later(HOUR);
        lock(&world).left = left;
        let whole = run(&world).await;
        lock(&world).left = usize::MAX;
        later(HOUR);
        assert!(run(&world).await, "after {left} calls");
        assert!(all_copied(&world) >= 2, "after {left} calls");
        if whole {
            assert!(left > 20, "{left} calls are too few");
            break;
        }
        assert!(left < 59, "no run was whole");
    }
}

#[test]
fn the_address_follows_the_region_and_the_endpoint() {
    let of = |region: &'static str, suffix: &str, endpoint: Option<&str>| {
        let config = SdkConfig::builder().region(Region::new(region));
        let mut config = config.credentials_provider(SharedCredentialsProvider::new(credentials()));
        config.set_endpoint_url(endpoint.map(str::to_owned));
        Bucket::of(&config.build(), "audit", suffix, "stack").unwrap().address
    };
    let folder = |region: &str| format!("/rootcast/{region}/stack/heads/");
    let aws = |region: &str, host: &str| format!("https://audit.s3.{region}.{host}{}", folder(region));
    for (region, suffix) in [("eu-central-1", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn")] {
        assert_eq!(of(region, suffix, None), aws(region, suffix));
    }
    let local = format!("http://localhost:4566/audit{}", folder("us-east-1"));
    assert_eq!(of("us-east-1", "amazonaws.com", Some("http://localhost:4566/")), local);
}
