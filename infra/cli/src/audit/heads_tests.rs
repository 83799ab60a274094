#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../../../functions/shared/core/src/audit/test_key.rs"]
mod test_key;

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::{Json, Router, routing::get};
use rootcast_core::access::token::Token;
use rootcast_core::audit::{Act, Action, Actor, Latest, StatedHead, Statement, export};
use rootcast_core::job::JobId;
use serde_json::Value;
use tempfile::TempDir;

use self::test_key::Key;
use super::*;
use crate::api::Api;
use crate::profile::Access;

const JOB: Subject = Subject::Job(JobId(7));

impl Key {
    /// The next statement, of this chain.
    fn state(&self, statements: &mut Vec<String>, lines: &[String], at: OffsetDateTime) {
        let last = statements.last().map_or(Latest::NONE, |last| Latest::read(last).unwrap());
        let Head { hash, sequence } = head(lines);
        let statement = Statement::after(&last, vec![StatedHead { hash, sequence, subject: JOB }], at, true);
        statements.push(self.sign(&statement.payload().unwrap()));
    }
}

fn chain_of(length: usize, by: &str) -> Vec<String> {
    let (mut lines, mut head) = (Vec::new(), Head::NONE);
    for _ in 0..length {
        let act = Act::new(JOB, Action::Pause, &Actor::function(by), OffsetDateTime::now_utc());
        let entry = act.after(&head);
        let line = entry.line().unwrap();
        head = entry.head(&line);
        lines.push(line);
    }
    lines
}

fn head(lines: &[String]) -> Head {
    rootcast_core::audit::verify(lines.iter().map(String::as_str)).unwrap().1
}

/// What the API holds.
#[derive(Default)]
struct Held {
    statements: Vec<String>,
    lines: Vec<String>,
}

/// An API, and somebody who uses it from one machine.
struct Scene {
    held: Arc<Mutex<Held>>,
    url: url::Url,
    folder: TempDir,
}

impl Scene {
    async fn new(statements: &[String], lines: &[String]) -> Self {
        let held = Arc::new(Mutex::new(Held { statements: statements.to_vec(), lines: lines.to_vec() }));
        let answer = |response: Value| Json(json!({ "response": response, "result": "success", "messages": [] }));
        let stated = move |State(held): State<Arc<Mutex<Held>>>| async move {
            answer(json!({ "statements": held.lock().unwrap().statements }))
        };
        let chain = move |State(held): State<Arc<Mutex<Held>>>| async move {
            let lines = held.lock().unwrap().lines.clone();
            let found = !lines.is_empty();
            let page = json!({ "subject": JOB, "entries": lines, "head": head(&lines) });
            let refusal = json!({ "result": "failed", "messages": [{ "text": "Nothing is on record of 7." }] });
            if found { Ok(answer(page)) } else { Err((StatusCode::NOT_FOUND, Json(refusal))) }
        };
        let app = Router::new().route("/audit/heads", get(stated)).route("/jobs/7/audit", get(chain));
        let app = app.with_state(Arc::clone(&held));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { held, url, folder: tempfile::tempdir().unwrap() }
    }

    fn source(&self) -> Source {
        let token = Token::from_text("secret==".to_owned());
        let api = Api::connect(&Access { url: self.url.clone(), token, ca: None }).unwrap();
        Source { api, url: self.url.clone(), profile: self.folder.path().join("default.json") }
    }

    async fn verify(&self, given: Verify) -> End {
        verify(|| Ok(self.source()), given, Format::Json).await.unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        file
    }
}

fn hours(ago: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() - Duration::hours(ago)
}

fn trusting(key: &Key) -> Trust {
    Trust { key_sha256: vec![key.public().fingerprint()], anew: false }
}

#[tokio::test]
async fn a_chain_written_anew_in_the_api_is_found() {
    let (key, lines) = (Key::new(), chain_of(3, "ops"));
    let mut statements = Vec::new();
    key.state(&mut statements, &lines[..1], hours(1));
    key.state(&mut statements, &lines[..2], hours(0));
    let scene = Scene::new(&statements, &lines).await;
    assert_eq!(scene.verify(Verify { trust: trusting(&key), ..Verify::default() }).await, End::Done);
    assert_eq!(scene.verify(Verify { trust: trusting(&Key::new()), ..Verify::default() }).await, End::Failed);
    for other in [chain_of(3, "mallory"), lines[..1].to_vec(), Vec::new()] {
        scene.held.lock().unwrap().lines = other;
        assert_eq!(scene.verify(Verify::default()).await, End::Failed);
    }
    scene.held.lock().unwrap().lines = lines;
    assert_eq!(scene.verify(Verify::default()).await, End::Done);
}

#[tokio::test]
async fn an_api_that_withholds_a_seen_statement_is_found() {
    let (key, other, lines) = (Key::new(), Key::new(), chain_of(1, "ops"));
    let (mut statements, mut foreign) = (Vec::new(), Vec::new());
    for ago in [2, 1, 0] {
        key.state(&mut statements, &lines, hours(ago));
        other.state(&mut foreign, &lines, hours(ago));
    }
    let scene = Scene::new(&statements, &lines).await;
    let heads = async |trust| show(&scene.source(), Heads { trust, export: None }, Format::Json).await.unwrap();
    assert_eq!(heads(Trust::default()).await, End::Done);
    for held in [statements[..2].to_vec(), foreign.clone(), Vec::new()] {
        scene.held.lock().unwrap().statements = held.clone();
        assert_eq!(heads(Trust::default()).await, End::Failed, "{} statements", held.len());
    }
    scene.held.lock().unwrap().statements = foreign.clone();
    assert_eq!(heads(Trust { anew: true, ..Trust::default() }).await, End::Done);
    assert_eq!(heads(Trust::default()).await, End::Done, "the new key is remembered");
}

#[tokio::test]
async fn an_api_whose_last_statement_is_old_is_refused() {
    let (key, lines) = (Key::new(), chain_of(1, "ops"));
    let mut statements = Vec::new();
    key.state(&mut statements, &lines, hours(4));
    let scene = Scene::new(&statements, &lines).await;
    assert_eq!(scene.verify(Verify::default()).await, End::Failed);
    // They are exported all the same.
    let copy = scene.folder.path().join("copy.jws");
    let heads = Heads { export: Some(copy.clone()), ..Heads::default() };
    assert_eq!(show(&scene.source(), heads, Format::Text).await.unwrap(), End::Failed);
    assert_eq!(read_statements(&copy).unwrap(), statements);
}

#[tokio::test]
async fn a_copy_of_statements_that_ends_early_is_refused() {
    let (key, lines) = (Key::new(), chain_of(1, "ops"));
    let mut statements = Vec::new();
    key.state(&mut statements, &lines, hours(9));
    let scene = Scene::new(&[], &[]).await;
    let copy = scene.file("copy.jws", &statements.concat());
    let file = scene.file("chain.jsonl", &export(JOB, &lines, head(&lines)).unwrap());
    for (until, end) in [(None, End::Failed), (Some(hours(8)), End::Done), (Some(hours(4)), End::Failed)] {
        let (files, heads) = (vec![file.clone()], vec![copy.clone()]);
        let given = Verify { files, heads, until, trust: trusting(&key), ..Verify::default() };
        assert_eq!(scene.verify(given).await, end, "{until:?}");
    }
}

#[tokio::test]
async fn a_chain_that_statements_contradict_is_listed() {
    let key = Key::new();
    let mut statements = Vec::new();
    for by in ["ops", "mallory"] {
        key.state(&mut statements, &chain_of(1, by), hours(0));
    }
    let scene = Scene::new(&statements, &[]).await;
    assert_eq!(show(&scene.source(), Heads::default(), Format::Text).await.unwrap(), End::Failed);
}

#[tokio::test]
async fn copies_of_chains_and_statements_verify_offline() {
    let (key, lines) = (Key::new(), chain_of(3, "ops"));
    let mut statements = Vec::new();
    key.state(&mut statements, &lines[..1], hours(5));
    key.state(&mut statements, &lines, hours(0));
    let scene = Scene::new(&statements, &lines).await;
    let copy = scene.folder.path().join("copy.jws");
    let heads = Heads { export: Some(copy.clone()), ..Heads::default() };
    assert_eq!(show(&scene.source(), heads, Format::Text).await.unwrap(), End::Done);
    for (number, statement) in statements.iter().enumerate() {
        scene.file(&format!("bucket/{number}.jws"), statement);
    }
    let bucket = scene.folder.path().join("bucket");

    let whole = scene.file("whole.jsonl", &export(JOB, &lines, head(&lines)).unwrap());
    let entries = scene.file("entries.jsonl", &lines.join("\n"));
    let mallory = chain_of(3, "mallory");
    let anew = scene.file("anew.jsonl", &export(JOB, &mallory, head(&mallory)).unwrap());
    let offline = || anyhow::bail!("it needs no API");
    let verified = async |file: &PathBuf, heads: &[&PathBuf]| {
        let heads = heads.iter().map(|path| (*path).clone()).collect();
        let given = Verify { files: vec![file.clone()], heads, trust: trusting(&key), ..Verify::default() };
        verify(offline, given, Format::Text).await.unwrap()
    };
    for heads in [&copy, &bucket] {
        assert_eq!(verified(&whole, &[heads]).await, End::Done);
        assert_eq!(verified(&entries, &[heads]).await, End::Done);
        assert_eq!(verified(&anew, &[heads]).await, End::Failed);
    }
    assert_eq!(verified(&anew, &[]).await, End::Done, "alone, it looks right");
    assert_eq!(verified(&entries, &[]).await, End::Failed);
    std::fs::remove_file(bucket.join("0.jws")).unwrap();
    assert_eq!(verified(&whole, &[&bucket]).await, End::Failed, "the first is missing");
    assert_eq!(verified(&whole, &[&bucket, &copy]).await, End::Done);
}

/// Of the statements before the replacement, the last one is remembered; of the keys, the last one.
#[tokio::test]
async fn a_replaced_key_is_named_once() {
    let (old, new, lines) = (Key::new(), Key::new(), chain_of(4, "ops"));
    let mut statements = Vec::new();
    let mut stated = |key: &Key, length: usize, ago| {
        key.state(&mut statements, &lines[..length], hours(ago));
        statements.clone()
    };
    let scene = Scene::new(&stated(&old, 1, 2), &lines).await;
    assert_eq!(scene.verify(Verify::default()).await, End::Done);
    scene.held.lock().unwrap().statements = stated(&new, 2, 1);
    assert_eq!(scene.verify(Verify::default()).await, End::Failed);
    let keys = [&old, &new].map(|key| key.public().fingerprint());
    let both = Trust { key_sha256: keys.to_vec(), anew: false };
    assert_eq!(scene.verify(Verify { trust: both, ..Verify::default() }).await, End::Done);
    scene.held.lock().unwrap().statements = stated(&new, 3, 0);
    assert_eq!(scene.verify(Verify::default()).await, End::Done);
    scene.held.lock().unwrap().statements = stated(&old, 4, 0);
    assert_eq!(scene.verify(Verify::default()).await, End::Failed, "the old one signs no more");
}
