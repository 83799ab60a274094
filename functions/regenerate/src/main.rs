//! Composition: one configuration and one client per service, created on the first event.

use std::sync::Arc;

use lambda_http::Error;
use lambda_http::lambda_runtime::Diagnostic;
use rootcast_dialects::serve_with_events;
use tokio::sync::OnceCell;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    let made = OnceCell::new();
    let made = async || {
        let make = async || {
            let app = Arc::new(regenerate::App::from_env().await?);
            Ok::<_, Error>((app.clone(), regenerate::router(app)))
        };
        made.get_or_try_init(make).await
    };
    let router = async || Ok(made().await?.1.clone());
    let events = async |event: &str| {
        let (app, _) = made().await.map_err(Diagnostic::from)?;
        Ok(Box::pin(regenerate::carry_out(app, event)).await?)
    };
    serve_with_events(router, regenerate::is_event, events).await
}
