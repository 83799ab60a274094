//! Composition: the API's router behind the Lambda runtime. Clients are made at the first request.

use lambda_http::{Error, run, tracing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    run(catalog::router(catalog::App::default())).await
}
