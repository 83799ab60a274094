//! Composition: one configuration and one client per service, created on the first event.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use tokio::sync::OnceCell;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    let app = OnceCell::new();
    run(service_fn(async |event: LambdaEvent<_>| {
        let app = app.get_or_try_init(issue::App::from_env).await?;
        issue::handle(app, event).await
    }))
    .await
}
