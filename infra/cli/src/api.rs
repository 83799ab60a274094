//! A client of the HTTP API.

mod problem;

use std::time::Duration;

use anyhow::{Context, Result};
use backon::{ExponentialBuilder, Retryable};
use reqwest::{
    Certificate, Client, Method, RequestBuilder, Response, StatusCode, header, header::HeaderValue, redirect::Policy,
};
use rootcast_core::access::token::Token;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use url::{Host, Url};

#[cfg(test)]
pub(crate) use self::problem::Recovery;
pub(crate) use self::problem::{ApiError, Message, Problem, Refusal};
use crate::{exit::Usage, output::note, profile::Access};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Longer than API Gateway's 30 seconds, so that its error is reported instead of a client timeout.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);
/// Retries after 0.5, 1 and 2 seconds, each with jitter: for a cold start, a throttle or a lost packet.
const ATTEMPTS_AFTER_FIRST: usize = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Between two attempts at what waits for a second person.
const SECOND_PERSON: Duration = Duration::from_secs(5);
/// The API's largest page.
const PAGE: &str = "100";

/// One API, with the token to call it.
#[derive(Debug)]
pub(crate) struct Api {
    http: Client,
    base: Url,
    token: Token,
    /// Whether to wait for a second person.
    patient: bool,
}

/// The envelope of every JSON answer.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Envelope<T> {
    #[serde(default)]
    response: Option<T>,
    #[serde(default)]
    messages: Vec<Message>,
}

impl Api {
    /// Does not connect yet.
    ///
    /// # Errors
    /// The address would send the token unencrypted, or the CA file cannot be read.
    pub(crate) fn connect(access: &Access) -> Result<Self> {
        let loopback = is_loopback(&access.url);
        if !(access.url.scheme() == "https" || access.url.scheme() == "http" && loopback) {
            return Err(
                Usage(format!("{} would send the token in the clear: an https address is needed", access.url)).into()
            );
        }
        let mut http = Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .timeout(ANSWER_LIMIT)
            // A redirect could send the token to another server.
            .redirect(Policy::none())
            .user_agent(concat!("rootcast/", env!("CARGO_PKG_VERSION")));
        if loopback {
            http = http.no_proxy();
        }
        if let Some(file) = &access.ca {
            let pem = std::fs::read(file).with_context(|| format!("the CA file {} cannot be read", file.display()))?;
            let trusted =
                Certificate::from_pem_bundle(&pem).with_context(|| format!("{} is not PEM", file.display()))?;
            if trusted.is_empty() {
                return Err(Usage(format!("{} holds no certificate", file.display())).into());
            }
            http = http.tls_certs_only(trusted);
        }
        Ok(Self { http: http.build()?, base: access.url.clone(), token: access.token.clone(), patient: false })
    }

    /// Waits for a second person where one is needed.
    pub(crate) fn patient(self, patient: bool) -> Self {
        Self { patient, ..self }
    }

    /// The `response` of a GET, with retries.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, ApiError> {
        let (status, body) = self.text(path, query).await?;
        read(path, status, &body)?.ok_or_else(|| ApiError::unintelligible(path, "it has no response"))
    }

    /// The unparsed body of a GET.
    pub(crate) async fn raw(&self, path: &str) -> Result<String, ApiError> {
        Ok(self.text(path, &[]).await?.1)
    }

    /// The date of an answer, whatever the answer is; with retries.
    pub(crate) async fn date(&self, path: &str) -> Result<Option<String>, ApiError> {
        let attempt = async || self.request(Method::GET, path).send().await;
        let answer = attempt.retry(pauses()).await;
        let answer = answer.map_err(|source| ApiError::Unreachable { base: self.base.to_string(), source })?;
        Ok(answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned))
    }

    /// Sends once, without retries, since the request may change something. `None` if the answer has no `response`.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<Option<T>, ApiError> {
        let mut request = self.request(method, path).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let (status, body) = self.answered(request).await?;
        read(path, status, &body)
    }

    /// The body of a GET whose answer has no envelope: `/v3/scm`.
    pub(crate) async fn get_plain<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, ApiError> {
        let (_, body) = self.text(path, query).await?;
        serde_json::from_str(&body).map_err(|error| ApiError::unintelligible(path, error))
    }

    /// As [`Self::get_plain`], for a request that may change something: sent once. An empty body reads as `null`.
    pub(crate) async fn send_plain<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, ApiError> {
        self.send_plain_with(method, path, &[], body).await
    }

    /// As [`Self::send_plain`], with a query.
    pub(crate) async fn send_plain_with<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, String)],
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, ApiError> {
        let mut request = self.request(method, path).query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let (status, body) = self.answered(request).await?;
        if !status.is_success() {
            return Err(refusal(path, status, &body));
        }
        let body = if body.is_empty() { "null" } else { &body };
        serde_json::from_str(body).map_err(|error| ApiError::unintelligible(path, error))
    }

    /// The items of all pages, from their `field`.
    pub(crate) async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        filter: &[(&str, &str)],
        field: &str,
    ) -> Result<Vec<T>, ApiError> {
        let mut items = Vec::new();
        let mut pages = self.paged(path, filter, field, PAGE);
        while let Some(found) = pages.next().await? {
            items.extend::<Vec<T>>(found);
        }
        Ok(items)
    }

    /// As [`Self::pages`], page by page, for lists that may not fit in memory. `limit` is the page size.
    pub(crate) fn paged<'a>(
        &'a self,
        path: &'a str,
        filter: &'a [(&'a str, &'a str)],
        field: &'a str,
        limit: &'a str,
    ) -> Pages<'a> {
        Pages { api: self, path, filter, field, limit, next: NextPage::First }
    }

    /// As [`Api::send`], with retries: for idempotent requests.
    pub(crate) async fn send_repeatedly<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Option<T>, ApiError> {
        let attempt = async || self.send(method.clone(), path, &[], Some(body)).await;
        attempt.retry(pauses()).when(ApiError::is_passing).await
    }

    async fn text(&self, path: &str, query: &[(&str, &str)]) -> Result<(StatusCode, String), ApiError> {
        let attempt = async || {
            let (status, body) = self.answered(self.request(Method::GET, path).query(query)).await?;
            if status.is_success() { Ok((status, body)) } else { Err(refusal(path, status, &body)) }
        };
        attempt.retry(pauses()).when(ApiError::is_passing).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let request = self.http.request(method, url);
        match HeaderValue::from_str(&format!("Bearer {}", self.token.expose())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(reqwest::header::AUTHORIZATION, value)
            }
            // No header can hold this token. Send none: the API answers that it is missing.
            Err(_) => request,
        }
    }

    async fn answered(&self, request: RequestBuilder) -> Result<(StatusCode, String), ApiError> {
        let lost = |source| ApiError::Unreachable { base: self.base.to_string(), source };
        let mut first = None;
        loop {
            // Only a request with a stream for its body cannot be sent twice, and there is none.
            let Some(once) = request.try_clone() else {
                return Err(ApiError::unintelligible(self.base.path(), "it cannot be sent again"));
            };
            let answer = once.send().await.map_err(lost)?;
            let (status, asked) = (answer.status(), asked(&answer));
            let body = answer.text().await.map_err(lost)?;
            let Some(asked) = asked else { return Ok((status, body)) };
            let waits = waiting(&asked, status, &body);
            // Another request than the first one: that has expired.
            if !self.patient || first.as_ref().is_some_and(|first| *first != asked) {
                return Err(waits);
            }
            if first.is_none() {
                note!("{waits}");
            }
            first = Some(asked);
            tokio::time::sleep(SECOND_PERSON).await;
        }
    }
}

/// The path of the request that waits for a second person, if that is the answer.
fn asked(answer: &Response) -> Option<String> {
    let place = answer.headers().get(header::LOCATION).filter(|_| answer.status() == StatusCode::ACCEPTED)?;
    place.to_str().ok().filter(|place| place.starts_with("/requests/")).map(str::to_owned)
}

fn waiting(asked: &str, status: StatusCode, body: &str) -> ApiError {
    match refusal(asked, status, body) {
        ApiError::Refused(refusal) => ApiError::Waits(refusal),
        other => other,
    }
}

fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(ATTEMPTS_AFTER_FIRST).with_jitter()
}

/// A list, page by page.
pub(crate) struct Pages<'a> {
    api: &'a Api,
    path: &'a str,
    filter: &'a [(&'a str, &'a str)],
    field: &'a str,
    limit: &'a str,
    next: NextPage,
}

enum NextPage {
    First,
    Behind(String),
    None,
}

impl Pages<'_> {
    /// A page may be empty without being the last. `None` follows the last page.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Vec<T>>, ApiError> {
        let cursor = match &self.next {
            NextPage::First => None,
            NextPage::Behind(cursor) => Some(cursor.clone()),
            NextPage::None => return Ok(None),
        };
        let mut query = [self.filter, &[("limit", self.limit)]].concat();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let mut page: Value = self.api.get(self.path, &query).await?;
        let found = serde_json::from_value(page[self.field].take());
        self.next = match page["cursor"].take() {
            Value::String(next) if cursor.as_ref() != Some(&next) => NextPage::Behind(next),
            _ => NextPage::None,
        };
        found.map(Some).map_err(|error| ApiError::unintelligible(self.path, error))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn read<T: DeserializeOwned>(path: &str, status: StatusCode, body: &str) -> Result<Option<T>, ApiError> {
    if !status.is_success() {
        return Err(refusal(path, status, body));
    }
    let envelope: Envelope<T> = serde_json::from_str(body).map_err(|error| ApiError::unintelligible(path, error))?;
    Ok(envelope.response)
}

/// The error answer of `/v3/scm`, which has no envelope.
#[derive(Deserialize)]
struct ScmRefusal {
    error_code: String,
    error_msg: String,
    /// Every problem, if there are several.
    #[serde(default)]
    problems: Vec<ScmRefusal>,
}

impl From<ScmRefusal> for Message {
    fn from(refusal: ScmRefusal) -> Self {
        Self { id: refusal.error_code, text: refusal.error_msg, ..Self::default() }
    }
}

fn refusal(path: &str, status: StatusCode, body: &str) -> ApiError {
    if let Ok(mut scm) = serde_json::from_str::<ScmRefusal>(body) {
        let problems = std::mem::take(&mut scm.problems);
        let messages =
            if problems.is_empty() { vec![scm.into()] } else { problems.into_iter().map(Message::from).collect() };
        return ApiError::Refused(Box::new(Refusal { status, messages, response: None }));
    }
    match serde_json::from_str::<Envelope<Value>>(body) {
        Ok(Envelope { response, messages }) if !messages.is_empty() => {
            ApiError::Refused(Box::new(Refusal { status, messages, response }))
        }
        // The answer is from API Gateway or an intermediary.
        _ => ApiError::Foreign { status, path: path.to_owned() },
    }
}
