//! `GET /openapi.json`: the API's description, OpenAPI 3.1.

use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use crate::bundle::CACHE;

/// `tests/tests/routes/openapi.rs` makes it from the table of routes and the routers' answers.
const DOCUMENT: &str = include_str!("../openapi.json");

pub(crate) async fn show() -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, CACHE)], DOCUMENT).into_response()
}
