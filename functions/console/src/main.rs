//! Composition: the connection to the API's functions is made at the first request.

use std::sync::Arc;

use lambda_http::Error;
use rootcast_dialects::serve;
use tokio::sync::OnceCell;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    let router = OnceCell::new();
    serve(async || {
        let made = async || rootcast_console::App::from_env().await.map(Arc::new).map(rootcast_console::router);
        Ok(router.get_or_try_init(made).await?.clone())
    })
    .await
}
