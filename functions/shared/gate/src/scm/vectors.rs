//! Requests as PyPI `huaweicloudsdkcore` 3.1.219 signed them (`Signer.sign`, with a fixed `X-Sdk-Date`) and `requests`
//! would have put them on the wire. [`WITHOUT_HOST`] and [`WITHOUT_DATE`] come from parts of the same signer, with one
//! name removed from its list of headers.

use axum::body::Body;
use axum::extract::Request;
use time::OffsetDateTime;
use time::macros::datetime;

pub(super) const ACCESS_KEY: &str = "AKIDEXAMPLE012345678";
pub(super) const SECRET: &[u8] = b"SK0123456789abcdefghijABCDEFGHIJ01234567";
/// The `X-Sdk-Date` of all of them.
pub(super) const DATE: OffsetDateTime = datetime!(2026-11-23 01:02:03 UTC);

pub(super) struct Vector {
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) target: &'static str,
    /// In addition to those that [`Vector::request`] adds.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: &'static str,
    pub(super) names: &'static str,
    pub(super) signature: &'static str,
}

const JSON: (&str, &str) = ("Content-Type", "application/json");
const NAMES: &str = "content-type;host;user-agent;x-sdk-date";
const LIST: &str = "/v3/scm/certificates";
const IMPORT: &str = "/v3/scm/certificates/import";

impl Vector {
    pub(super) fn request(&self) -> Request {
        let authorization =
            format!("SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders={}, Signature={}", self.names, self.signature);
        let request = Request::builder().method(self.method).uri(self.target).header("X-Sdk-Date", "20261123T010203Z");
        let request = request.header("Host", "scm.example:8443").header("Authorization", authorization);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let agent = ("User-Agent", "huaweicloud-usdk-python/3.0; x/1");
        let request = if self.headers.iter().any(|header| header.0 == agent.0) {
            request
        } else {
            request.header(agent.0, agent.1)
        };
        request.body(Body::from(self.body)).unwrap()
    }
}

const fn get(target: &'static str, names: &'static str, signature: &'static str) -> Vector {
    Vector { method: "GET", target, headers: &[JSON], body: "", names, signature }
}

const fn bare(method: &'static str, target: &'static str, signature: &'static str) -> Vector {
    Vector { method, target, headers: &[JSON, ("Content-Length", "0")], body: "", names: NAMES, signature }
}

/// `list_certificates` without a parameter.
pub(super) const PLAIN: Vector = get(LIST, NAMES, "fe013b11656f6aba8d225a74f2a46ad4ef7537463ee2ae824e4ff5f54cc778d9");

/// `content="a b+c&d=e/ü~*'%\"(x)"`, `owned_by_self=True`.
pub(super) const QUERY: Vector = get(
    "/v3/scm/certificates?content=a%20b%2Bc%26d%3De%2F%C3%BC~%2A%27%25%22%28x%29&limit=10&offset=0&owned_by_self=true\
     &sort_key=certExpiredTime",
    NAMES,
    "60afa424429a6d6a5bf10b5d12547eb55eb97daf97c7f9b24c5795927dd47a9b",
);

/// `status=["UPLOAD", "EXPIRED"]`, `days=[10, 9]`, `Zone="x"`, `empty=""`.
pub(super) const LISTS: Vector = get(
    "/v3/scm/certificates?Zone=x&days=9&days=10&empty=&status=EXPIRED&status=UPLOAD",
    NAMES,
    "506b74dfc630bfbec01e7b7184b1e06bf379da71803140ee442dbcea94eb3693",
);

/// The path parameter `"a b/cü~*"`; the star was added to the template, which the SDK leaves as it is.
pub(super) const PATH: Vector = get(
    "/v3/scm/certificates/a%20b%2Fc%C3%BC~*",
    NAMES,
    "1709bd3bc99fa364c3b96ce3a36082b4c448ae93b47dc36064b51b7360d8e857",
);

pub(super) const POST: Vector = Vector {
    method: "POST",
    target: IMPORT,
    headers: &[("Content-Type", "application/json;charset=UTF-8"), ("X-Project-Id", "0123")],
    body: r#"{"name": "\u00fc-cert", "certificate": "-----BEGIN"}"#,
    names: "content-type;host;user-agent;x-project-id;x-sdk-date",
    signature: "82de64cf65996d53e3dd725fe0fe2328036df4ea18f225cb5066b3d751bd493f",
};

pub(super) const EXPORT: Vector = bare(
    "POST",
    "/v3/scm/certificates/scs1600313391074/export",
    "303ca2d54a63038ae95c22b4f30fd4cbe0a9243c2ffeb4d832ad945d86b138af",
);

pub(super) const DELETE: Vector = bare(
    "DELETE",
    "/v3/scm/certificates/scs1600313391074",
    "6084d29b44f6845a52abd85f3b8675ae2b35c3893193caa4a937ee30aea820ed",
);

/// The user agent `"  prüf/1 "`.
pub(super) const AGENT: Vector = Vector {
    method: "GET",
    target: LIST,
    headers: &[JSON, ("User-Agent", "prüf/1")],
    body: "",
    names: NAMES,
    signature: "40f987509481e739cb07e392df8a5f047234db93a7c9fe70ca9b61c130c11a12",
};

pub(super) const GOOD: [&Vector; 8] = [&PLAIN, &QUERY, &LISTS, &PATH, &POST, &EXPORT, &DELETE, &AGENT];

const HASHED: &str = "content-type;host;user-agent;x-sdk-content-sha256;x-sdk-date";

/// What the SDK sends for any media type but JSON.
pub(super) const UNSIGNED: Vector = Vector {
    method: "POST",
    target: IMPORT,
    headers: &[("Content-Type", "text/plain"), ("X-Sdk-Content-Sha256", "UNSIGNED-PAYLOAD")],
    body: "plain",
    names: HASHED,
    signature: "2b0ee510abc05964d6016062d361295bb10f8ff9ab719a8bffaa8f197687ae08",
};

/// The caller sent the hash of an empty body, and the SDK signed it.
pub(super) const LIE: Vector = Vector {
    method: "POST",
    target: IMPORT,
    headers: &[JSON, ("X-Sdk-Content-Sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")],
    body: r#"{"a":1}"#,
    names: HASHED,
    signature: "490d54780bbd027f440af44b248acc83c7bd1906c2acc318ba467cf47efe6a7c",
};

pub(super) const WITHOUT_HOST: Vector =
    get(LIST, "content-type;user-agent;x-sdk-date", "2f2621952a6a8941d35ea31a5a235fbe499a73a1e012d41c2abd84d76ae2f6cf");

pub(super) const WITHOUT_DATE: Vector =
    get(LIST, "content-type;host;user-agent", "8e93c5530e4530b32b993a4172791d9bc2efc2165a8043a274d2984658366877");

/// [`PLAIN`] with the secret `another`.
pub(super) const OTHER_SECRET: Vector =
    get(LIST, NAMES, "7c040836c238faaeec8ca3a2016c50324c7229d0fa2c55f940183c512a29fa5b");

pub(super) const BAD: [&Vector; 5] = [&UNSIGNED, &LIE, &WITHOUT_HOST, &WITHOUT_DATE, &OTHER_SECRET];
