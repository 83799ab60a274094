//! Composition: the API's router behind the Lambda runtime. Router and clients are created at the first request.

use std::sync::LazyLock;

use lambda_http::{Error, tracing};
use rootcast_dialects::serve;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let router = LazyLock::new(|| catalog::router(catalog::App::default()));
    serve(async || Ok(router.clone())).await
}
