//! `POST /devices/{id}/probe`: a worker looks at a device, and writes nothing to it.

use axum::Extension;
use axum::extract::State;
use rootcast_core::access::permission::Right;
use rootcast_core::device::DeviceId;
use rootcast_core::job::message::Task;
use rootcast_core::job::{NO_JOB, Pass};
use rootcast_dialects::lenovo::{Envelope, LenovoError, Message};
use rootcast_dialects::native::ProbeBegun;
use rootcast_gate::Principal;
use tracing::info;

use crate::app::App;
use crate::devices::load;
use crate::extract::Id;

/// Sends one message. The result is in the device's record when a worker was there: within seconds, or when the worker that
/// is at the device now is done. Only the device's own credential is sent, and only to the device as it was approved.
pub(crate) async fn probe(
    State(app): State<App>,
    Extension(caller): Extension<Principal>,
    Id(id): Id<DeviceId>,
) -> Result<Envelope<ProbeBegun>, LenovoError> {
    let parts = app.parts().await?;
    let device = load(&parts.ledger, &caller, Right::Write, &id).await?;
    if device.approved_version().is_none() {
        return Err(LenovoError::conflict(
            format!("Device {id} is not approved: nothing is sent to it."),
            "Approve the device (POST /devices/{id}/approval), then send the request again.",
        ));
    }
    // A number that grows: a second probe is another task.
    let number = u32::try_from((parts.clock)().unix_timestamp()).unwrap_or(u32::MAX);
    let task = Task::new(NO_JOB, Pass::Probe, id.clone(), number);
    parts.queue.send_later(&parts.task_queue, &task, 0).await.map_err(LenovoError::internal)?;
    info!(caller = caller.name, device.id = %id, "device is probed");
    let message = Message::done(
        format!("Device {id} is probed."),
        "GET /devices/{id} shows the result as probe, with this number, when a worker was there.",
    );
    Ok(Envelope::success(ProbeBegun { number }).saying(message))
}
