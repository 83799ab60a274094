//! `rootcast device probe`: what a worker sees of a device.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_core::device::probe::{Found, FoundSlot, Manager};
use rootcast_dialects::native::{Device, Probe, ProbeBegun};
use tokio::time::{Instant, sleep};

use crate::{
    api::Api,
    exit::End,
    output::{self, Format, out, plain, table},
};

/// Poll interval.
const PAUSE: Duration = Duration::from_secs(1);
/// A worker at the device has two minutes at most, and the probe comes after it.
const PATIENCE: Duration = Duration::from_secs(240);

#[derive(Debug, Args)]
pub(crate) struct ProbeDevice {
    /// Which device
    #[arg(value_name = "ID")]
    device: DeviceId,
}

pub(super) async fn run(api: &Api, ProbeDevice { device }: ProbeDevice, format: Format) -> Result<End> {
    let path = format!("/devices/{device}");
    let begun: Option<ProbeBegun> = api.send(Method::POST, &format!("{path}/probe"), &[], None::<&()>).await?;
    let Some(ProbeBegun { number }) = begun else { bail!("The answer has no number of the probe.") };
    let until = Instant::now() + PATIENCE;
    let probe = loop {
        let now: Device = api.get(&path, &[]).await?;
        match now.probe.filter(|probe| probe.number >= number) {
            Some(probe) => break probe,
            None if Instant::now() >= until => {
                bail!("No worker came back from {device} within {} s. See the worker's log.", PATIENCE.as_secs())
            }
            None => sleep(PAUSE).await,
        }
    };
    let failed = End::unless(probe.failure.is_some());
    match format {
        Format::Json => output::json(&probe)?,
        Format::Text => show(&probe),
    }
    Ok(failed)
}

fn show(probe: &Probe) {
    if let Some(failure) = &probe.failure {
        out!("{}: {}", failure.class, plain(&failure.message));
        out!("{}", failure.recovery);
    }
    let Some(found) = &probe.found else { return };
    let named: Vec<_> = found.vendor.iter().chain(&found.product).map(|text| plain(text)).collect();
    if !named.is_empty() {
        out!("{}", named.join(", "));
    }
    out!("clock: {}", probe.clock.as_deref().unwrap_or("not shown"));
    let can: Vec<_> =
        found.can.iter().filter_map(|ability| Some(serde_json::to_value(ability).ok()?.as_str()?.to_owned())).collect();
    out!("can: {}", can.join(", "));
    tables(found);
    for problem in &found.problems {
        out!("problem: {}", plain(problem));
    }
}

fn tables(found: &Found) {
    let used = |is_used: bool| if is_used { "used".to_owned() } else { String::new() };
    let text = |text: &Option<String>| text.as_deref().map(plain).unwrap_or_else(|| "-".to_owned());
    let managers: Vec<_> = found.managers.iter().map(|manager| {
        let Manager { path, model, firmware, manages_system, is_used } = manager;
        let system = if *manages_system { "yes" } else { "-" };
        [plain(path), text(model), text(firmware), system.to_owned(), used(*is_used)]
    });
    let managers: Vec<_> = managers.collect();
    out!("{}", table(["manager", "model", "firmware", "manages the system", ""], &managers));
    let slots: Vec<_> = found.slots.iter().map(|slot: &FoundSlot| {
        let number = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        [plain(&slot.path), slot.members.to_string(), number(slot.places), number(slot.free()), used(slot.is_used)]
    });
    let slots: Vec<_> = slots.collect();
    out!("{}", table(["slot", "certificates", "places", "free", ""], &slots));
}
