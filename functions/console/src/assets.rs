//! The page's own files. Their names hold their hashes, so a browser may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rootcast_pki::fingerprint::Fingerprint;

use crate::frame::nothing_here;

pub(crate) struct Asset {
    /// Where a page finds it.
    pub(crate) path: String,
    /// What a browser checks before it uses it (Subresource Integrity).
    pub(crate) integrity: String,
    kind: &'static str,
    content: &'static str,
}

pub(crate) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("page.css", "text/css; charset=utf-8", include_str!("../assets/page.css")));
pub(crate) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("page.js", JAVASCRIPT, include_str!("../assets/page.js")));
/// Unchanged, from npm: <https://www.npmjs.com/package/htmx.org/v/2.0.11>.
pub(crate) static HTMX: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("htmx.js", JAVASCRIPT, include_str!("../assets/htmx-2.0.11.min.js")));
pub(crate) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")));

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

impl Asset {
    fn of(name: &str, kind: &'static str, content: &'static str) -> Self {
        let hash = Fingerprint::of(content.as_bytes());
        let path = format!("/console/assets/{}-{name}", hex_start(&hash));
        Self { path, integrity: format!("sha256-{}", BASE64_STANDARD.encode(hash.as_bytes())), kind, content }
    }
}

fn hex_start(hash: &Fingerprint) -> String {
    hash.to_string().chars().take(16).collect()
}

pub(crate) async fn show(Path(file): Path<String>) -> Response {
    let all = [&*STYLE, &SCRIPT, &HTMX, &ICON];
    match all.into_iter().find(|asset| asset.path.rsplit('/').next() == Some(file.as_str())) {
        Some(Asset { kind, content, .. }) => {
            let headers = [(CONTENT_TYPE, *kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, *content).into_response()
        }
        None => nothing_here().await,
    }
}
