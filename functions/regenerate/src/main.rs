//! Composition: one configuration and one client per service, created on the first event, which is a request or the
//! schedule's.

use std::sync::Arc;

use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use rootcast_dialects::respond;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::OnceCell;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    let app = OnceCell::new();
    let app = async || app.get_or_try_init(async || regenerate::App::from_env().await.map(Arc::new)).await.cloned();
    let router = OnceCell::new();
    let router = async || {
        let made = router.get_or_try_init(async || app().await.map(regenerate::router));
        Ok::<_, Error>(made.await?.clone())
    };
    let handle = async |event: LambdaEvent<Box<RawValue>>| -> Result<Box<RawValue>, Error> {
        if !regenerate::Wake::is(&event) {
            return Ok(to_raw_value(&respond(&router, event).await?)?);
        }
        regenerate::look(&*app().await?).await?;
        Ok(RawValue::NULL.to_owned())
    };
    lambda_runtime::run(service_fn(handle)).await
}
