//! Composition: one configuration and one client per service, created on the first request.

use std::sync::Arc;

use lambda_http::Error;
use rootcast_dialects::serve;
use tokio::sync::OnceCell;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    let router = OnceCell::new();
    serve(async || {
        let made = router.get_or_try_init(async || import::App::from_env().await.map(Arc::new).map(import::router));
        Ok(made.await?.clone())
    })
    .await
}
