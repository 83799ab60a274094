//! The proof from the devices' side: each device fetches an image from a server of each root, and from a stranger's
//! server.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, stream};
use rootcast_local::{Device, Download, ImageServer, LocalStack};
use serde_json::json;

use super::issue::Server;
use crate::{
    exit::End,
    output::{self, Format, out, plain, table},
};

/// Concurrent fetches. Each is a TLS handshake in a device's process; more would only share the cores.
const AT_ONCE: usize = 4;

/// The results of one device.
pub(super) struct Proof {
    device: String,
    /// One result per server, in the order of the servers.
    servers: Vec<Result<Download>>,
    stranger: Result<Download>,
}

/// The results are in the order of the devices.
pub(super) async fn prove(stack: &LocalStack, servers: &[Server], stranger: &ImageServer) -> Result<Vec<Proof>> {
    let prove_one = async |device: &Device| {
        let mut verdicts = Vec::new();
        for server in servers {
            verdicts.push(rootcast_local::prove(device, &server.images.image_url()).await);
        }
        let stranger = rootcast_local::prove(device, &stranger.image_url()).await;
        Proof { device: device.id.clone(), servers: verdicts, stranger }
    };
    Ok(stream::iter(stack.fleet.devices()).map(prove_one).buffered(AT_ONCE).collect().await)
}

/// Prints the proofs. [`End::Done`] only if every device accepted each of our servers and refused the stranger.
pub(super) fn tell(proofs: &[Proof], servers: &[Server], took: Duration, format: Format) -> Result<End> {
    let generations: Vec<u32> = servers.iter().map(|server| server.generation).collect();
    let good = proofs.iter().filter(|proof| proof.is_good()).count();
    let end = End::unless(good < proofs.len() || proofs.is_empty());
    if format == Format::Json {
        let devices: Vec<_> = proofs.iter().map(|proof| proof.json(&generations)).collect();
        output::json(&json!({"devices": devices, "proven": good, "seconds": took.as_secs_f64()}))?;
        return Ok(end);
    }
    let rows: Vec<_> = proofs.iter().map(|proof| proof.row(&generations)).collect();
    out!("\n{}", table(["device", "holds roots", "server under the new root", "stranger's server"], &rows));
    let named: Vec<_> = generations.iter().map(u32::to_string).collect();
    out!(
        "\n{good} of {} devices trust servers under roots {} and refuse a stranger's. All of it took {:.0} s.",
        proofs.len(),
        named.join(" and "),
        took.as_secs_f64()
    );
    Ok(end)
}

impl Proof {
    fn is_good(&self) -> bool {
        self.servers.iter().all(|verdict| matches!(verdict, Ok(Download::Accepted)))
            && matches!(self.stranger, Ok(Download::Refused))
    }

    /// The roots whose servers it accepted.
    fn holds(&self, generations: &[u32]) -> Vec<u32> {
        let accepted =
            generations.iter().zip(&self.servers).filter(|(_, verdict)| matches!(verdict, Ok(Download::Accepted)));
        accepted.map(|(generation, _)| *generation).collect()
    }

    fn row(&self, generations: &[u32]) -> [String; 4] {
        let holds: Vec<_> = self.holds(generations).iter().map(u32::to_string).collect();
        let newest = self.servers.last().map_or_else(|| "-".to_owned(), words);
        [self.device.clone(), holds.join(", "), newest, words(&self.stranger)]
    }

    fn json(&self, generations: &[u32]) -> serde_json::Value {
        let newest = self.servers.last().map(words);
        json!({"device": self.device, "holds": self.holds(generations), "newRoot": newest, "stranger": words(&self.stranger)})
    }
}

fn words(verdict: &Result<Download>) -> String {
    match verdict {
        Ok(Download::Accepted) => "accepted".to_owned(),
        Ok(Download::Refused) => "refused".to_owned(),
        Err(error) => plain(&format!("no answer: {error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;
    use rootcast_local::Download::{Accepted, Refused};

    use super::Proof;

    fn proof(servers: [super::Result<super::Download>; 2], stranger: super::Result<super::Download>) -> Proof {
        Proof { device: "bmc-0001".to_owned(), servers: servers.into(), stranger }
    }

    #[test]
    fn a_proof_requires_both_roots_and_no_stranger() {
        assert!(proof([Ok(Accepted), Ok(Accepted)], Ok(Refused)).is_good());
        assert!(!proof([Ok(Refused), Ok(Accepted)], Ok(Refused)).is_good());
        assert!(!proof([Ok(Accepted), Ok(Accepted)], Ok(Accepted)).is_good());
        assert!(!proof([Ok(Accepted), Ok(Accepted)], Err(anyhow!("gone"))).is_good());
    }

    #[test]
    fn a_device_holds_the_roots_whose_servers_it_accepted() {
        let row = proof([Err(anyhow!("it is\ndown")), Ok(Accepted)], Ok(Refused)).row(&[1, 2]);
        assert_eq!(row, ["bmc-0001", "2", "accepted", "refused"]);
    }
}
