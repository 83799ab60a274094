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

/// Prints the proofs. [`End::Done`] only if every device accepted the servers under roots that it is to trust, and refused
/// the others and the stranger. `took`: after the last proof, all of it.
pub(super) fn tell(proofs: &[Proof], servers: &[Server], took: Option<Duration>, format: Format) -> Result<End> {
    let generations: Vec<u32> = servers.iter().map(|server| server.generation).collect();
    let trusted: Vec<bool> = servers.iter().map(|server| server.is_trusted).collect();
    let good = proofs.iter().filter(|proof| proof.is_good(&trusted)).count();
    let end = End::unless(good < proofs.len() || proofs.is_empty());
    if format == Format::Json {
        let devices: Vec<_> = proofs.iter().map(|proof| proof.json(&generations)).collect();
        output::json(&json!({"devices": devices, "proven": good, "seconds": took.map(|took| took.as_secs_f64())}))?;
        return Ok(end);
    }
    let rows: Vec<_> = proofs.iter().map(|proof| proof.row(&generations)).collect();
    out!("\n{}", table(["device", "holds roots", "server under the new root", "stranger's server"], &rows));
    let named = |wanted: bool| {
        let named = servers
            .iter()
            .filter(|server| server.is_trusted == wanted)
            .map(|server| format!("root {}", server.generation));
        named.collect::<Vec<_>>().join(" and ")
    };
    let refused = match named(false) {
        none if none.is_empty() => "a stranger's server".to_owned(),
        gone => format!("servers under {gone} and of a stranger"),
    };
    out!("\n{good} of {} devices trust a server under {}, and refuse {refused}.", proofs.len(), named(true));
    if let Some(took) = took {
        out!("All of it took {:.0} s.", took.as_secs_f64());
    }
    Ok(end)
}

impl Proof {
    /// `trusted`: for each server, whether its root is to be trusted.
    fn is_good(&self, trusted: &[bool]) -> bool {
        let as_wanted = |(verdict, trusted): (&Result<Download>, &bool)| match verdict {
            Ok(Download::Accepted) => *trusted,
            Ok(Download::Refused) => !trusted,
            Err(_) => false,
        };
        self.servers.iter().zip(trusted).all(as_wanted) && matches!(self.stranger, Ok(Download::Refused))
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
    fn a_proof_requires_the_trusted_roots_and_nobody_else() {
        let both = [true, true];
        assert!(proof([Ok(Accepted), Ok(Accepted)], Ok(Refused)).is_good(&both));
        assert!(!proof([Ok(Refused), Ok(Accepted)], Ok(Refused)).is_good(&both));
        assert!(!proof([Ok(Accepted), Ok(Accepted)], Ok(Accepted)).is_good(&both));
        assert!(!proof([Ok(Accepted), Ok(Accepted)], Err(anyhow!("gone"))).is_good(&both));
        let new = [false, true];
        assert!(proof([Ok(Refused), Ok(Accepted)], Ok(Refused)).is_good(&new));
        assert!(!proof([Ok(Accepted), Ok(Accepted)], Ok(Refused)).is_good(&new));
        assert!(!proof([Err(anyhow!("down")), Ok(Accepted)], Ok(Refused)).is_good(&new));
    }

    #[test]
    fn a_device_holds_the_roots_whose_servers_it_accepted() {
        let row = proof([Err(anyhow!("it is\ndown")), Ok(Accepted)], Ok(Refused)).row(&[1, 2]);
        assert_eq!(row, ["bmc-0001", "2", "accepted", "refused"]);
    }
}
