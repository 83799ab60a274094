//! `rootcast device probe`: what a worker sees of a device.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use reqwest::Method;
use rootcast_core::device::DeviceId;
use rootcast_core::device::probe::{Ability, FoundSlot, Manager};
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
        Format::Text => show(&probe)?,
    }
    Ok(failed)
}

fn show(probe: &Probe) -> Result<()> {
    if let Some(failure) = &probe.failure {
        out!("{}: {}", failure.class, plain(&failure.message));
        out!("{}", failure.recovery);
    }
    let Some(found) = &probe.found else { return Ok(()) };
    let named: Vec<_> = found.vendor.iter().chain(&found.product).map(|text| plain(text)).collect();
    if !named.is_empty() {
        out!("{}", named.join(", "));
    }
    out!("clock: {}", probe.clock.as_deref().unwrap_or("not shown"));
    let name = |ability: &Ability| Some(serde_json::to_value(ability).ok()?.as_str()?.to_owned());
    let can: Vec<_> = found.can.iter().filter_map(name).collect();
    out!("can: {}", can.join(", "));
    out!("{}", managers(&found.managers));
    out!("{}", slots(&found.slots));
    for problem in &found.problems {
        out!("problem: {}", plain(problem));
    }
    Ok(())
}

fn managers(found: &[Manager]) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), plain);
    let row = |manager: &Manager| {
        let Manager { path, model, firmware, manages_system, is_used } = manager;
        [plain(path), text(model), text(firmware), yes(*manages_system), yes(*is_used)]
    };
    table(["manager", "model", "firmware", "of the system", "used"], &found.iter().map(row).collect::<Vec<_>>())
}

fn slots(found: &[FoundSlot]) -> String {
    let number = |count: Option<u32>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let row = |slot: &FoundSlot| {
        let (members, places) = (slot.members.to_string(), number(slot.places));
        [plain(&slot.path), members, places, number(slot.free()), yes(slot.is_used)]
    };
    table(["slot", "certificates", "places", "free", "used"], &found.iter().map(row).collect::<Vec<_>>())
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "-" }.to_owned()
}
