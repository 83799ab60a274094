//! `POST /jobs/{id}/retry`: retries failed devices, all of them or those of some classes, waves or ids.

use std::collections::HashSet;
use std::hash::Hash;

use axum::Extension;
use axum::extract::{Request, State};
use rootcast_core::access::permission::Right;
use rootcast_core::device::DeviceId;
use rootcast_core::inventory::dn::application_dn;
use rootcast_core::job::task::ErrorClass;
use rootcast_core::job::{JobId, MOST_RETRIED, MOST_WAVES};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message, Params};
use rootcast_dialects::native;
use rootcast_gate::{BODY_LIMIT, Principal, RequestId, media_type, parse_json, read};
use rootcast_operations::Filters;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::app::App;
use crate::extract::{Dry, Id};
use crate::jobs::{load_any, view};
use crate::refused::{Asked, nothing_chosen, refused};

/// See [`Filters`]; errors about the body use that name.
#[derive(Deserialize)]
#[serde(rename = "Filters", deny_unknown_fields)]
struct Sent {
    classes: Option<Vec<ErrorClass>>,
    waves: Option<Vec<u32>>,
    devices: Option<Vec<DeviceId>>,
}

/// The job, and how many of its devices were selected.
#[derive(Debug, Serialize)]
pub(crate) struct Retried {
    #[serde(flatten)]
    job: native::Job,
    retried: u64,
    /// Devices without a result that are not waited for: their next try is now.
    hastened: u64,
}

pub(crate) async fn retry(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Extension(request_id): Extension<RequestId>,
    Params(Dry { dry_run }, _): Params<Dry>,
    Id(id): Id<JobId>,
    request: Request,
) -> Result<Envelope<Retried>, LenovoError> {
    let mut filters = filters(request).await?;
    if let Some(devices) = &mut filters.devices {
        devices.retain(|device| caller.require(Right::Read, &application_dn(device)).is_ok());
        // An empty list would select everything.
        if devices.is_empty() {
            return Err(nothing_chosen(id));
        }
    }
    let parts = app.parts().await?;
    let operations = parts.operations();
    let retried = match dry_run {
        true => operations.would_retry(id, &filters).await,
        false => operations.retry(id, &filters, &caller.acting(&request_id)).await,
    };
    let rootcast_operations::Retried { job, devices, hastened } =
        retried.map_err(|why| refused(id, Asked::Retry, why))?;
    if dry_run {
        let text = format!("{devices} failed devices of job {id} would be tried again.");
        let shown =
            Retried { job: view(parts, &load_any(&parts.ledger, id).await?).await?, retried: devices, hastened };
        return Ok(Envelope::success(shown).saying(Message::done(text, "Nothing was done.")));
    }
    info!(caller = caller.name, job.id = %id, devices.retried = devices, devices.hastened = hastened, ?filters, "failed devices are retried");
    let message = Message::done(
        match hastened {
            0 => format!("{devices} failed devices of job {id} are tried again."),
            _ => format!(
                "{devices} failed devices of job {id} are tried again; of {hastened} without a result, those that wait for their next try are tried now."
            ),
        },
        "What else failed stays as it is.",
    );
    let shown = Retried { job: view(parts, &job).await?, retried: devices, hastened };
    Ok(Envelope::success(shown).saying(message))
}

async fn filters(request: Request) -> Result<Filters, LenovoError> {
    let (head, body) = request.into_parts();
    let body = read(body, BODY_LIMIT).await?;
    if body.is_empty() {
        return Ok(Filters::default());
    }
    media_type(&head.headers, &["application/json"])?;
    let Sent { mut classes, mut waves, mut devices } = parse_json(&body)?;
    // No limit: there are few classes.
    check("classes", &mut classes, usize::MAX)?;
    check("waves", &mut waves, MOST_WAVES)?;
    check("devices", &mut devices, MOST_RETRIED)?;
    Ok(Filters { classes, waves, devices })
}

/// Checks the length, and removes duplicates.
fn check<T: Clone + Eq + Hash>(name: &str, values: &mut Option<Vec<T>>, most: usize) -> Result<(), LenovoError> {
    let Some(values) = values else { return Ok(()) };
    let why = match values.len() {
        // Otherwise a list that is empty by mistake would select everything.
        0 => format!("{name} is empty; without it, this filter lets every failed device pass."),
        many if many > most => format!("{name} has {many} values; one request takes {most}."),
        _ => {
            let mut seen = HashSet::new();
            values.retain(|value| seen.insert(value.clone()));
            return Ok(());
        }
    };
    Err(LenovoError::invalid(why, "Correct the body and send the request again."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test's inputs are its own")]
mod tests {
    use axum::body::Body;
    use serde_json::{Value, json};

    use super::*;

    async fn filters(body: impl Into<Body>) -> Result<Filters, LenovoError> {
        super::filters(Request::builder().body(body.into()).unwrap()).await
    }

    #[tokio::test]
    async fn without_a_filter_every_device_is_selected() {
        for body in ["", "{}"] {
            let filters = filters(body).await.unwrap();
            assert!(filters.classes.is_none() && filters.waves.is_none() && filters.devices.is_none());
        }
    }

    #[tokio::test]
    async fn duplicate_filter_values_are_removed() {
        let all = json!({ "classes": ["lost", "connect", "lost"], "waves": [2, 1, 2], "devices": ["b", "a", "b"] });
        let filters = filters(all.to_string()).await.unwrap();
        assert_eq!(filters.classes.unwrap().len(), 2);
        assert_eq!(filters.waves.unwrap(), [2, 1]);
        assert_eq!(filters.devices.unwrap(), ["b", "a"].map(|id| id.parse::<DeviceId>().unwrap()));
    }

    #[tokio::test]
    async fn invalid_filters_are_refused_with_a_reason() {
        let ids = |count: usize| (0..count).map(|number| format!("bmc-{number}")).collect::<Vec<_>>();
        let all = json!({ "classes": ["unauthorized", "connect"], "waves": [3, 1], "devices": ids(1000) });
        assert!(filters(all.to_string()).await.is_ok());
        let refused: [(Value, &str); 7] = [
            (json!({ "classes": ["asleep"] }), "unknown variant `asleep`, expected one of `connect`"),
            (json!({ "classes": [] }), "classes is empty"),
            (json!({ "waves": (0..101).collect::<Vec<_>>() }), "waves has 101 values; one request takes 100"),
            (json!({ "waves": [-1] }), "invalid value"),
            (json!({ "devices": ids(1001) }), "devices has 1001 values; one request takes 1000"),
            (json!({ "devices": ["a b"] }), "a device id has"),
            (json!({ "device": ["a"] }), "unknown field `device`"),
        ];
        for (body, why) in refused {
            let error = filters(body.to_string()).await.unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.text().contains(why), "{}", error.text());
        }
    }
}
