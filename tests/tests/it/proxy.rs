//! A proxy to the local cloud: it forwards every request, and records each with its sender.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};

pub struct Proxy {
    cloud: String,
    client: reqwest::Client,
    asked: Mutex<Vec<Recorded>>,
}

/// One call to AWS.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The owner of the address at which the request arrived.
    pub who: Arc<str>,
    /// `DynamoDB_20120810.GetItem`, or the path of a request that is not a JSON call.
    pub target: String,
    pub body: Bytes,
}

impl Proxy {
    /// `cloud`: the local cloud's port.
    pub fn to(cloud: u16) -> Arc<Self> {
        // For the proxy's own client, which is created before the stack's.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let cloud = format!("http://127.0.0.1:{cloud}");
        Arc::new(Self { cloud, client: reqwest::Client::new(), asked: Mutex::default() })
    }

    /// A new address for `who`.
    pub async fn open(self: &Arc<Self>, who: &str) -> String {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let router = Router::new().fallback(pass_on).with_state((Arc::clone(self), Arc::from(who)));
        tokio::spawn(async move { axum::serve(listener, router).await });
        endpoint
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn pass_on(
    State((proxy, who)): State<(Arc<Proxy>, Arc<str>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap().to_owned());
    let target = target.unwrap_or_else(|| uri.path().to_owned());
    proxy.asked.lock().unwrap().push(Recorded { who, target, body: body.clone() });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let asked = proxy.client.request(method, format!("{}{path}", proxy.cloud)).headers(headers).body(body);
    let answer = asked.send().await.unwrap();
    let mut response = Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
