//! Counters of a pass, which always change together with its [tasks](crate::tasks).
//!
//! Sixteen items, so that writers seldom meet, in one partition of the job: one query reads all of them, for the read units of
//! their few KB. A partition takes 1 000 write units a second, and DynamoDB divides one that is written more; a transaction
//! takes two, and counts up to ten devices.
//!
//! Results are counted by their state, and once more by wave.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{TransactWriteItem, Update};
use futures::future::try_join_all;
use rootcast_core::device::SHARDS;
use rootcast_core::job::task::TaskState;
use rootcast_core::job::{ByWave, JobId, JobRecord, Pass, Results, Tally, place};
use rootcast_core::usage::Usage;
use serde::Deserialize;

use crate::item::{Item, from_item, job_key, number, text};
use crate::{Ledger, LedgerError, Settlement};

const COUNTERS: &str = "counters#";
/// Counts the failures that have a record beside their task: see [`Ledger::troubled`].
const LISTED: &str = "listed";

fn partition(job: JobId) -> String {
    format!("{job}#counters")
}

fn counters_key(job: JobId, pass: Pass, shard: u8) -> Item {
    job_key(partition(job), format!("{COUNTERS}{pass}#{shard:02}"))
}

/// Where an earlier release counted.
fn former_key(job: JobId, pass: Pass, shard: u8) -> Item {
    job_key(format!("{job}#{shard:02}"), format!("{COUNTERS}{pass}"))
}

/// An item, and the shard of one of an earlier release.
fn counts(item: Item) -> Result<(Option<usize>, Counts), LedgerError> {
    let shard = item.get("pk").and_then(|pk| pk.as_s().ok()).and_then(|pk| pk.rsplit_once('#')?.1.parse().ok());
    let of_waves = item.iter().filter_map(|(name, count)| {
        let wave = name.strip_prefix(['r', 'f', 'p'])?.parse().ok()?;
        Some((name.as_bytes()[0], wave, count.as_n().ok()?.parse().ok()?))
    });
    let of_waves = of_waves.collect();
    Ok((shard, Counts { of_waves, ..from_item("counters", item)? }))
}

/// What a device in this state adds to the counts of its wave: `r` with a result, `f` failed, `p` postponed, each with the
/// wave's [`place`]. Where it has no wave, nothing.
fn of_wave(wave: u32, state: TaskState) -> impl Iterator<Item = (String, i64)> {
    let Results { with_result, failed, postponed } = Results::of(state);
    let adds = [('r', with_result), ('f', failed), ('p', postponed)];
    let adds = adds.into_iter().filter(move |(_, adds)| wave > 0 && *adds > 0);
    adds.map(move |(name, adds)| (format!("{name}{}", place(wave)), adds.cast_signed()))
}

/// What one item of a pass's counters holds. Only their sum says anything: a transaction counts all of its results in one item,
/// and a result may be counted in one and taken back in another.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    dispatched: i64,
    acked: i64,
    failed: i64,
    skipped: i64,
    waived: i64,
    postponed: i64,
    listed: i64,
    /// As in [`of_wave`]: letter, number and count.
    #[serde(skip)]
    of_waves: Vec<(u8, u32, i64)>,
}

/// A pass's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// The sum. Without the devices that were sent to, unless an earlier release began the job: see [`Job::tally`](rootcast_core::job::Job::tally).
    pub tally: Tally,
    /// The devices that were sent to, by shard, as an earlier release counted them.
    pub sent: Vec<u64>,
    /// Whether every failure has its record beside the task: see [`Ledger::troubled`]. An earlier release wrote none.
    pub lists_failures: bool,
}

impl Counters {
    fn of(items: impl IntoIterator<Item = (Option<usize>, Counts)>) -> Self {
        let (mut sum, mut sent) = (Counts::default(), vec![0; usize::from(SHARDS)]);
        let mut of_waves: BTreeMap<(u8, u32), i64> = BTreeMap::new();
        for (shard, counts) in items {
            sum.dispatched += counts.dispatched;
            sum.acked += counts.acked;
            sum.failed += counts.failed;
            sum.skipped += counts.skipped;
            sum.waived += counts.waived;
            sum.postponed += counts.postponed;
            sum.listed += counts.listed;
            for (name, wave, count) in counts.of_waves {
                *of_waves.entry((name, wave)).or_default() += count;
            }
            if let Some(sent) = shard.and_then(|shard| sent.get_mut(shard)) {
                *sent = u64::try_from(counts.dispatched).unwrap_or(0);
            }
        }
        let whole = |count| u64::try_from(count).unwrap_or(0);
        let mut by_wave = ByWave::default();
        for ((name, wave), count) in of_waves {
            let results = by_wave.of_mut(wave);
            match name {
                b'r' => results.with_result = whole(count),
                b'f' => results.failed = whole(count),
                _ => results.postponed = whole(count),
            }
        }
        let tally = Tally {
            dispatched: whole(sum.dispatched),
            acked: whole(sum.acked),
            failed: whole(sum.failed),
            skipped: whole(sum.skipped),
            waived: whole(sum.waived),
            postponed: whole(sum.postponed),
            by_wave,
        };
        Self { tally, sent, lists_failures: sum.listed == sum.failed }
    }
}

impl Ledger {
    /// The pass's counters. One call, of two to four read units whatever the fleet; another one unless they are counted
    /// [together](rootcast_core::job::Job::counted_together).
    pub async fn counters(&self, job: JobId, pass: Pass, together: bool) -> Result<Counters, LedgerError> {
        let items = self.counter_items(job, &[pass], together).await?;
        Ok(Counters::of(items.into_iter().map(counts).collect::<Result<Vec<_>, _>>()?))
    }

    /// The pass's counters, and its job. Two calls at once.
    pub async fn progress(&self, job: JobId, pass: Pass) -> Result<(Counters, Option<JobRecord>), LedgerError> {
        let record = async { Ok(self.jobs_and_tasks([job], &[]).await?.0.remove(&job)) };
        let passes = [pass];
        let (counted, record) = futures::try_join!(self.counter_items(job, &passes, true), record)?;
        let items = match record.as_ref().is_none_or(JobRecord::is_counted_together) {
            true => counted,
            false => self.counter_items(job, &passes, false).await?,
        };
        Ok((Counters::of(items.into_iter().map(counts).collect::<Result<Vec<_>, _>>()?), record))
    }

    /// What the devices of these passes used at AWS.
    pub async fn used_by_devices(&self, job: JobId, passes: &[Pass], together: bool) -> Result<Usage, LedgerError> {
        let items = self.counter_items(job, passes, together).await?;
        items.into_iter().map(|item| from_item::<Usage>("counters", item)).sum()
    }

    async fn counter_items(&self, job: JobId, passes: &[Pass], together: bool) -> Result<Vec<Item>, LedgerError> {
        let query = async |pass: &Pass| {
            let query = self.client.query().table_name(self.jobs()?).consistent_read(true);
            let query = query.key_condition_expression("pk = :counters AND begins_with(sk, :pass)");
            let query = query.expression_attribute_values(":counters", text(partition(job)));
            let query = query.expression_attribute_values(":pass", text(format!("{COUNTERS}{pass}#")));
            // Sixteen items have a few KB.
            Ok(query.send().await.map_err(LedgerError::aws("Query counters"))?.items.unwrap_or_default())
        };
        let apart = async {
            let keys = passes.iter().flat_map(|pass| (0..SHARDS).map(|shard| former_key(job, *pass, shard)));
            let keys = keys.filter(|_| !together).collect();
            self.batch_get(keys, "BatchGetItem counters").await
        };
        let (counted, former) = futures::try_join!(try_join_all(passes.iter().map(query)), apart)?;
        Ok(counted.into_iter().flatten().chain(former).collect())
    }

    /// One write a pass, to the counters that the first device's shard has: writers of one wave meet no more often, and pay once.
    /// `used`: each job's share goes to the first of its passes.
    pub(crate) fn counts(
        &self,
        settlements: &[Settlement],
        used: &Usage,
    ) -> Result<Vec<TransactWriteItem>, LedgerError> {
        let mut counts: BTreeMap<(JobId, Pass), (u8, Deltas)> = BTreeMap::new();
        let mut of_jobs: BTreeMap<JobId, u64> = BTreeMap::new();
        for Settlement { key, outcome, wave, .. } in settlements {
            let (_, deltas) = counts.entry((key.job, key.pass)).or_insert_with(|| (key.device.shard(), Deltas::new()));
            deltas.settled(outcome.state(), *wave);
            *of_jobs.entry(key.job).or_default() += 1;
        }
        let all = of_jobs.values().sum();
        let mut seen = BTreeSet::new();
        for ((job, _), (_, deltas)) in counts.iter_mut().filter(|((job, _), _)| seen.insert(*job)) {
            let share = used.share(of_jobs.get(job).copied().unwrap_or_default(), all);
            for (name, part) in share.parts() {
                deltas.add(name, part.cast_signed());
            }
        }
        counts.into_iter().map(|((job, pass), (shard, deltas))| self.counted(job, pass, shard, deltas)).collect()
    }

    pub(crate) fn counted(
        &self,
        job: JobId,
        pass: Pass,
        shard: u8,
        Deltas(deltas): Deltas,
    ) -> Result<TransactWriteItem, LedgerError> {
        let deltas: Vec<_> = deltas.into_iter().filter(|(_, delta)| *delta != 0).collect();
        let clauses: Vec<String> = deltas.iter().map(|(name, _)| format!("{name} :{name}")).collect();
        let values = deltas.iter().map(|(name, delta)| (format!(":{name}"), number(delta))).collect();
        let update = Update::builder()
            .table_name(self.jobs()?)
            .set_key(Some(counters_key(job, pass, shard)))
            .update_expression(format!("ADD {}", clauses.join(", ")))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|source| LedgerError::Unwritable { what: "counters", source: Box::new(source) })?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// By how much each counter of an item grows.
#[derive(Default)]
pub(crate) struct Deltas(BTreeMap<Cow<'static, str>, i64>);

impl Deltas {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, name: impl Into<Cow<'static, str>>, count: i64) {
        *self.0.entry(name.into()).or_default() += count;
    }

    /// A device of the wave comes into this state.
    pub(crate) fn settled(&mut self, state: TaskState, wave: u32) {
        self.count(state, wave, 1);
    }

    /// A device of the wave is no longer in this state.
    pub(crate) fn reopened(&mut self, state: TaskState, wave: u32) {
        self.count(state, wave, -1);
    }

    fn count(&mut self, state: TaskState, wave: u32, by: i64) {
        let Some(name) = counter(state) else { return };
        self.add(name, by);
        if state == TaskState::Failed {
            self.add(LISTED, by);
        }
        for (name, adds) in of_wave(wave, state) {
            self.add(name, by * adds);
        }
    }
}

/// The counter of a state; it has the state's name. Waiting tasks have no counter.
pub(crate) const fn counter(state: TaskState) -> Option<&'static str> {
    match state {
        TaskState::Waiting => None,
        TaskState::Acked => Some("acked"),
        TaskState::Failed => Some("failed"),
        TaskState::Skipped => Some("skipped"),
        TaskState::Waived => Some("waived"),
        TaskState::Postponed => Some("postponed"),
    }
}
