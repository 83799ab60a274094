//! `rootcast restore`: after tables were lost or restored to an earlier time, prevents numbers from being assigned
//! twice.
//!
//! Three things outlive the tables and show how far the counters were: the tags of KMS keys, the bundle numbers on
//! devices, and the job numbers in queued messages. Every counter is raised above all of them and never lowered.

mod queues;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::ProvideCredentials;
use clap::Args;
use rootcast_core::audit::{Act, Action, Actor, Outcome, Subject};
use rootcast_core::installation::InstallationId;
use rootcast_core::rollover::restore::{Counters, Evidence, is_plausible, raised};
use rootcast_ledger::{Authority, Change, Ledger, LedgerError, RestoredFleet, Tables};
use rootcast_vault::{TaggedKey, Vault};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::queues::Queued;
use crate::{
    exit::End,
    output::{self, Format, out},
    stack::Stack,
};

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// CloudFormation stack whose tables were lost or restored
    #[arg(long, value_name = "NAME")]
    stack: String,
    /// Show what was found and would be raised; write nothing
    #[arg(long)]
    dry_run: bool,
}

/// What was found.
struct Found {
    authority: Authority,
    /// The counters in the tables. Jobs have a separate counter.
    recorded: Option<Counters>,
    keys: Vec<TaggedKey>,
    /// The highest generation with a record.
    roots: u32,
    devices: u64,
    highest_bundle: u64,
    queued: Queued,
}

pub(crate) async fn run(arguments: Restore, format: Format) -> Result<End> {
    let Restore { stack: name, dry_run } = arguments;
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let stack = Stack::describe(&config, &name).await?;
    let table = |output| stack.output(output).map(|name| Some(name.to_owned()));
    let tables = Tables {
        certificates: table("CertificatesTable")?,
        jobs: table("JobsTable")?,
        devices: table("DevicesTable")?,
        access: None,
        audit: table("AuditTable")?,
        heads: None,
    };
    let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&config), tables);
    let (kms, tagging) = (aws_sdk_kms::Client::new(&config), aws_sdk_resourcegroupstagging::Client::new(&config));
    let queued = queues::look(&aws_sdk_sqs::Client::new(&config), &stack).await?;
    let found = look(&ledger, &Vault::new(&kms, &tagging, name.as_str()), queued).await?;
    let after = raised(found.recorded, &found.evidence());
    let behind = found.recorded.unwrap_or_default().is_behind(&after) || found.recorded.is_none();
    let now = OffsetDateTime::now_utc();
    let unlisted = "the list of approved devices cannot be restored";
    let mut fleet = ledger.restore_fleet(true).await.context(unlisted)?;
    let audited = !dry_run && (behind || fleet != RestoredFleet::default());
    if audited {
        let act = found.act(after, fleet, &actor(&config).await?, now);
        if behind {
            found.write(&ledger, after, act).await?;
        } else {
            ledger.audit(&act.came_to(Outcome::Begun)).await.context("the audit entry cannot be written")?;
        }
        fleet = ledger.restore_fleet(false).await.context(unlisted)?;
    }
    tell(&found, after, fleet, behind && !dry_run, audited, format)?;
    Ok(End::Done)
}

/// The AWS access key id, which is not secret: AWS knows its owner.
pub(crate) async fn actor(config: &SdkConfig) -> Result<Actor> {
    let provider = config.credentials_provider().context("there are no AWS credentials")?;
    let credentials = provider.provide_credentials().await.context("the AWS credentials cannot be read")?;
    Ok(Actor { principal: format!("aws:{}", credentials.access_key_id()), request_id: None })
}

async fn look(ledger: &Ledger, vault: &Vault, queued: Queued) -> Result<Found> {
    let authority = ledger.authority().await.context("the table of roots cannot be read")?;
    if authority.claim.as_ref().is_some_and(|claim| claim.until > OffsetDateTime::now_utc()) {
        bail!("a root is being created: wait a minute, then run `rootcast restore` again");
    }
    let job = ledger.last_job().await.context("the table of jobs cannot be read")?;
    let recorded = authority.counters().map(|counters| Counters { job, ..counters });
    let keys = vault.keys_of_stack().await.context("the KMS keys' tags cannot be read")?;
    let mut roots = authority.last_generation;
    while ledger.root(roots + 1).await.context("the table of roots cannot be read")?.is_some() {
        roots += 1;
    }
    let goals = ledger.goals(true).await.context("the table of devices cannot be read")?;
    let queued = Queued { job: queued.job.max(Some(job)), ..queued };
    Ok(Found { authority, recorded, keys, roots, devices: goals.devices, highest_bundle: goals.highest, queued })
}

impl Found {
    fn evidence(&self) -> Evidence {
        Evidence {
            key_generation: self.highest_key(),
            root_generation: Some(self.roots),
            device_bundle: self.highest_bundle,
            unlisted: false,
            job: self.queued.job,
            unread_messages: self.queued.is_unread(),
        }
    }

    fn highest_key(&self) -> Option<u32> {
        let recorded = self.authority.last_generation.max(self.roots);
        self.keys.iter().map(|key| key.generation).filter(|generation| is_plausible(*generation, recorded)).max()
    }

    /// Keys that no record of this installation names: nothing signs with them, and nothing deletes them.
    fn strangers(&self) -> impl Iterator<Item = &TaggedKey> {
        let ours = self.authority.installation;
        self.keys
            .iter()
            .filter(move |key| key.installation.is_none() || key.installation != ours || key.generation > self.roots)
    }

    /// Which counters are raised, from and to which value, and the evidence for it.
    fn act(&self, after: Counters, fleet: RestoredFleet, by: &Actor, at: OffsetDateTime) -> Act {
        let before = self.recorded.unwrap_or_default();
        Act::new(Subject::Root(after.generation), Action::Restore, by, at)
            .with("recorded", self.recorded.is_some())
            .with("generation", format!("{} to {}", before.generation, after.generation))
            .with("job", format!("{} to {}", before.job, after.job))
            .with("bundle", format!("{} to {}", before.bundle, after.bundle))
            .with("keys", self.keys.len())
            .with("highestKeyGeneration", self.highest_key().unwrap_or(0))
            .with("keysWithoutRecord", self.strangers().count())
            .with("highestBundle", self.highest_bundle)
            .with("deadLettersRead", self.queued.read)
            .with("messagesUnread", self.queued.working)
            .with("listed", fleet.listed)
            .with("unlisted", fleet.unlisted)
            .with("claimed", fleet.claimed)
    }

    /// Writes the counters and the audit entry in one transaction.
    async fn write(&self, ledger: &Ledger, after: Counters, act: Act) -> Result<()> {
        let before = &self.authority;
        let mut random = [0; 16];
        getrandom::fill(&mut random).context("the operating system gives no random numbers")?;
        let first = if self.recorded.is_some() { before.first_generation } else { after.generation + 1 };
        let authority = Authority {
            installation: Some(before.installation.unwrap_or(InstallationId::from_random(random))),
            first_generation: first,
            last_generation: after.generation,
            last_bundle: after.bundle,
            ..before.clone()
        };
        let (last_job, acts) = (Some(after.job), vec![act]);
        match ledger.commit(Change { authority: Some(&authority), last_job, acts, ..Change::default() }).await {
            Err(LedgerError::Conflict) => {
                bail!("a root or a job was created, or a root activated, meanwhile: run `rootcast restore` again")
            }
            written => written.context("the counters cannot be raised"),
        }
    }
}

fn tell(
    found: &Found,
    after: Counters,
    fleet: RestoredFleet,
    written: bool,
    audited: bool,
    format: Format,
) -> Result<()> {
    let Found { recorded, keys, devices, highest_bundle, queued, .. } = found;
    let before = recorded.unwrap_or_default();
    let strangers: Vec<_> = found.strangers().collect();
    // It is not signed again once a later one is known of.
    let valid = found.authority.bundle_expires.filter(|_| found.authority.bundle < after.bundle);
    if format == Format::Json {
        let of = |counters: Counters| json!({ "generation": counters.generation, "job": counters.job, "bundle": counters.bundle });
        let key = |key: &&TaggedKey| json!({ "arn": key.arn, "generation": key.generation });
        return output::json(&json!({
            "recorded": recorded.map(of),
            "keys": keys.len(),
            "highestKeyGeneration": found.highest_key(),
            "bundleValidUntil": valid.map(|at| at.format(&Rfc3339)).transpose()?,
            "keysWithoutRecord": strangers.iter().map(key).collect::<Vec<_>>(),
            "devices": devices,
            "highestBundle": highest_bundle,
            "messagesUnread": queued.working,
            "deadLettersRead": queued.read,
            "listed": fleet.listed,
            "unlisted": fleet.unlisted,
            "claimed": fleet.claimed,
            "raisedTo": of(after),
            "written": written,
        }));
    }
    match recorded {
        Some(_) => {
            out!("Records   root generation {}, job {}, bundle {}", before.generation, before.job, before.bundle)
        }
        None => out!("Records   none of an authority"),
    }
    let highest = found.highest_key().map_or_else(String::new, |key| format!(", up to root generation {key}"));
    out!("Keys      {} of this stack{highest}", keys.len());
    for key in &strangers {
        out!(
            "          {} (root generation {}) has no record here: it is neither used nor deleted",
            key.arn,
            key.generation
        );
    }
    out!("Devices   {devices}; the highest bundle that was brought to one is {highest_bundle}");
    out!(
        "Fleet     {} approved devices were missing in its list or had changed; {} in it are not approved devices",
        fleet.listed,
        fleet.unlisted
    );
    out!("Addresses {} devices had none on record as their own", fleet.claimed);
    out!("Queues    {} dead letters read; {}", queued.read, unread(queued));
    if audited {
        out!("Audit     rootcast audit root {}", after.generation);
    }
    if !before.is_behind(&after) && recorded.is_some() {
        out!("Nothing has to be raised.");
        return Ok(());
    }
    let verb = if written { "Raised" } else { "Would raise" };
    out!(
        "{verb}: root generation {} to {}, job {} to {}, bundle {} to {}.",
        before.generation,
        after.generation,
        before.job,
        after.job,
        before.bundle,
        after.bundle
    );
    if let Some(at) = valid {
        out!(
            "The published bundle is valid until {}, and is not signed again: a new root brings the next.",
            at.format(&Rfc3339)?
        );
    }
    match found.authority.running {
        Some(job) if written => {
            out!("Now abort job {job} (`rootcast job abort {job}`), then ask for a new root (`rootcast rotate`).")
        }
        None if written => out!("Now ask for a new root: `rootcast rotate`."),
        _ => {}
    }
    Ok(())
}

fn unread(queued: &Queued) -> String {
    match queued.working {
        0 if queued.more => "more are unread".to_owned(),
        0 => "no message in a working queue".to_owned(),
        working => format!(
            "about {working} messages in working queues, whose jobs cannot be read without counting as a delivery: job ids leave a gap"
        ),
    }
}
