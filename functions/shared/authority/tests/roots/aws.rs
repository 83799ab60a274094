//! A mock of DynamoDB and KMS, as far as the authority calls them, on the SDK's own mock layer. Records the calls in
//! order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::{PutItemError, PutItemOutput};
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::{TransactWriteItemsError, TransactWriteItemsOutput};
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::error::{ConditionalCheckFailedException, TransactionCanceledException};
use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Put, TransactWriteItem};
use aws_sdk_kms::error::ErrorMetadata;
use aws_sdk_kms::operation::cancel_key_deletion::{CancelKeyDeletionError, CancelKeyDeletionOutput};
use aws_sdk_kms::operation::create_alias::{CreateAliasError, CreateAliasOutput};
use aws_sdk_kms::operation::create_key::{CreateKeyError, CreateKeyOutput};
use aws_sdk_kms::operation::describe_key::{DescribeKeyError, DescribeKeyOutput};
use aws_sdk_kms::operation::disable_key::{DisableKeyError, DisableKeyOutput};
use aws_sdk_kms::operation::enable_key::{EnableKeyError, EnableKeyOutput};
use aws_sdk_kms::operation::get_public_key::{GetPublicKeyError, GetPublicKeyOutput};
use aws_sdk_kms::operation::schedule_key_deletion::{ScheduleKeyDeletionError, ScheduleKeyDeletionOutput};
use aws_sdk_kms::operation::sign::{SignError, SignOutput};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::error::{AlreadyExistsException, DisabledException};
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyUsageType};
use aws_sdk_resourcegroupstagging::operation::get_resources::GetResourcesOutput;
use aws_sdk_resourcegroupstagging::types::{ResourceTagMapping, Tag};
use aws_smithy_mocks::{MockResponse, Rule, RuleMode, mock, mock_client};
use rootcast_authority::{CertificateAuthority, IssuingSettings};
use rootcast_ledger::{IssuingRecord, Ledger, RootRecord, SleepRecord, Tables};
use rootcast_pki::algorithm::KeyAlgorithm;
use rootcast_pki::crl::Crl;
use rootcast_pki::fingerprint::Fingerprint;
use rootcast_vault::Vault;

use crate::keys::Key;

type Item = HashMap<String, AttributeValue>;

/// A KMS key.
pub(crate) struct KmsKey {
    pub(crate) pair: Key,
    pub(crate) disabled: bool,
    /// Pending deletion.
    pub(crate) pending: bool,
    /// Its policy denies its use.
    pub(crate) denied: bool,
    pub(crate) tags: BTreeMap<String, String>,
}

#[derive(Default)]
pub(crate) struct State {
    /// Keyed by `id`, or by `pk` and `sk`.
    rows: BTreeMap<String, Item>,
    pub(crate) keys: BTreeMap<String, KmsKey>,
    /// The key of each alias.
    names: BTreeMap<String, String>,
    /// Writes, and calls to KMS except those for public keys.
    pub(crate) calls: Vec<String>,
    /// For each signature, what its digest was reserved for, and the digest.
    pub(crate) signed: Vec<(&'static str, Fingerprint)>,
    writes: usize,
    /// The response to this write is lost; counted from 1.
    lost_write: Option<usize>,
    /// This write fails; counted from 1.
    failed_write: Option<usize>,
    /// Writes, and calls to KMS that change something.
    done: usize,
    /// The response to this one of them is lost; counted from 1.
    lost_call: Option<usize>,
    /// Whoever makes that call is dead from then on.
    kills: bool,
    dead: bool,
    /// So many signatures still find a key disabled that was enabled.
    pub(crate) late: usize,
    /// While a key signs, another process takes its waking over.
    pub(crate) taken_over: bool,
    /// Before the next write, another process changes the authority's record.
    pub(crate) overtaken: bool,
    /// The next key is made, but the response is lost.
    pub(crate) lost_key: bool,
    /// The keys that may not be woken.
    pub(crate) kept_asleep: BTreeSet<String>,
    /// KMS knows no key that is to be put to sleep.
    pub(crate) unseen: bool,
    /// KMS signs with a different key than requested.
    pub(crate) forges: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Aws(Arc<Mutex<State>>);

/// The key is in another state than the call needs.
fn pending() -> ErrorMetadata {
    ErrorMetadata::builder().code("KMSInvalidStateException").build()
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn key_of(item: &Item) -> String {
    ["id", "pk", "sk"].iter().filter_map(|name| item.get(*name)?.as_s().ok().cloned()).collect::<Vec<_>>().join(" ")
}

/// `root#0000000001` becomes `root 1`.
fn named(key: &str) -> Option<String> {
    match key.split_once('#') {
        Some(("issuing", id)) => {
            let (generation, number) = id.split_once('#')?;
            Some(format!("issuing {}.{}", generation.parse::<u32>().ok()?, number.parse::<u32>().ok()?))
        }
        // Written before what is on record about it.
        Some(("crl", list)) if list.ends_with(" signed") => None,
        Some(("crl", list)) => Some(format!("list {}", list.split('#').next()?)),
        Some((kind @ ("root" | "bundle"), number)) => Some(format!("{kind} {}", number.parse::<u64>().ok()?)),
        Some(_) => None,
        None if key.ends_with(" meta") => Some("job".to_owned()),
        None if key.ends_with(" conductor") => Some("lease".to_owned()),
        None => ["authority", "anchors", "sleep"].contains(&key).then(|| key.to_owned()),
    }
}

impl State {
    pub(crate) fn put(&mut self, row: impl IntoIterator<Item = (&'static str, AttributeValue)>) {
        let row: Item = row.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.rows.insert(key_of(&row), row);
    }

    pub(crate) fn put_row(&mut self, row: Item) {
        self.rows.insert(key_of(&row), row);
    }

    /// Whether the stored row meets a write's condition.
    fn holds(
        &self,
        key: &Item,
        expression: Option<&str>,
        names: Option<&HashMap<String, String>>,
        values: Option<&Item>,
    ) -> bool {
        let row = self.rows.get(&key_of(key));
        let number = |value: &AttributeValue| value.as_n().unwrap().parse::<u64>().unwrap();
        let holds = |expression: &str| {
            let [name, operator, value] = expression.split(' ').collect::<Vec<_>>()[..] else {
                return expression.starts_with("attribute_not_exists") && row.is_none();
            };
            let name = names.and_then(|names| names.get(name)).map_or(name, String::as_str);
            let (stored, value) = (row.and_then(|row| row.get(name)), values.unwrap().get(value));
            match operator {
                "=" => stored == value,
                "<" => stored.is_some_and(|stored| number(stored) < number(value.unwrap())),
                "<=" => stored.is_some_and(|stored| number(stored) <= number(value.unwrap())),
                other => panic!("{other} in {expression}"),
            }
        };
        expression.is_none_or(|expression| expression.split(" OR ").any(holds))
    }

    /// All or nothing.
    fn change_authority(&mut self) {
        let revision = self.rows.get_mut("authority").and_then(|row| row.get_mut("revision")).unwrap();
        *revision = AttributeValue::N((revision.as_n().unwrap().parse::<u64>().unwrap() + 1).to_string());
    }

    fn transact(&mut self, writes: &[TransactWriteItem]) -> bool {
        if std::mem::take(&mut self.overtaken) {
            self.change_authority();
        }
        let (mut rows, mut names) = (Vec::new(), Vec::new());
        for write in writes {
            let (key, holds) = if let Some(put) = write.put() {
                rows.push(put.item().clone());
                let (names, values) = (put.expression_attribute_names(), put.expression_attribute_values());
                (put.item(), self.holds(put.item(), put.condition_expression(), names, values))
            } else {
                let check = write.condition_check().unwrap();
                let (names, values) = (check.expression_attribute_names(), check.expression_attribute_values());
                (check.key(), self.holds(check.key(), Some(check.condition_expression()), names, values))
            };
            if !holds {
                return false;
            }
            names.extend(named(&key_of(key)));
        }
        rows.iter().for_each(|row| self.note_list(row));
        self.rows.extend(rows.into_iter().map(|row| (key_of(&row), row)));
        if !names.is_empty() {
            self.calls.push(format!("write {}", names.join(", ")));
        }
        self.writes += 1;
        true
    }

    /// The write after `number - 1` others goes wrong. `done`: it is carried out, and only its response is lost.
    pub(crate) fn lose_write_in(&mut self, number: usize, done: bool) {
        let lost = if done { &mut self.lost_write } else { &mut self.failed_write };
        *lost = Some(self.writes + number);
    }

    /// Whether the response to the call that was just carried out is lost.
    fn is_lost(&mut self) -> bool {
        self.done += 1;
        let lost = self.lost_call == Some(self.done);
        self.dead |= lost && self.kills;
        lost
    }

    /// As [`State::die_in`]; and nothing comes of what the dead process tries after that.
    pub(crate) fn kill_in(&mut self, number: usize) {
        self.die_in(number);
        self.kills = true;
    }

    /// The lines of the audit.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.rows.values().filter_map(|row| row.get("line")?.as_s().ok().cloned()).collect()
    }

    /// Another process starts.
    pub(crate) fn start_anew(&mut self) {
        (self.kills, self.dead) = (false, false);
    }

    /// Somebody else has woken this root's key as well.
    fn take_over(&mut self, generation: u32) {
        let row = self.rows.get_mut("sleep").unwrap();
        let mut record: SleepRecord = serde_dynamo::from_item(row.clone()).unwrap();
        record.awake.get_mut(&generation).unwrap().owner = "another".to_owned();
        record.revision += 1;
        let mut changed: Item = serde_dynamo::to_item(record).unwrap();
        changed.insert("id".to_owned(), text("sleep"));
        *row = changed;
    }

    /// Whoever makes the call after `number - 1` others dies before its response.
    pub(crate) fn die_in(&mut self, number: usize) {
        self.lost_call = Some(self.done + number);
    }

    /// Whether the call of the last [`State::die_in`] was made.
    pub(crate) fn has_died(&self) -> bool {
        self.lost_call.is_some_and(|lost| self.done >= lost)
    }

    /// A list tells what a digest was signed for.
    fn note_list(&mut self, row: &Item) {
        let Some(crl) = row.get("crl").and_then(|crl| crl.as_s().ok()) else { return };
        let crl = Crl::try_from(crl.clone()).unwrap();
        let (digest, arn) = (Fingerprint::of(tbs(crl.der())), "sign a bundle with ");
        for signed in self.signed.iter_mut().filter(|(_, signed)| *signed == digest) {
            signed.0 = "list";
        }
        if let Some(call) = self.calls.iter_mut().rfind(|call| call.starts_with(arn)) {
            *call = call.replace("a bundle", "a list");
        }
    }

    /// The next job gets its number again.
    pub(crate) fn forget_job(&mut self, id: u64) {
        self.rows.retain(|key, _| !key.split(' ').any(|part| part.parse() == Ok(id)));
    }

    pub(crate) fn issuings(&self) -> Vec<IssuingRecord> {
        let rows = self.rows.iter().filter(|(key, _)| key.starts_with("issuing#"));
        rows.map(|(_, row)| serde_dynamo::from_item(row.clone()).unwrap()).collect()
    }

    /// The number of different digests that were signed for this purpose.
    pub(crate) fn signed_as(&self, purpose: &str, from: usize) -> usize {
        let of = self.signed[from..].iter().filter(|(signed, _)| *signed == purpose);
        of.map(|(_, digest)| digest).collect::<BTreeSet<_>>().len()
    }

    pub(crate) fn roots(&self) -> Vec<RootRecord> {
        let roots = self.rows.iter().filter(|(key, _)| key.starts_with("root#"));
        roots.map(|(_, row)| serde_dynamo::from_item(row.clone()).unwrap()).collect()
    }

    pub(crate) fn bundles(&self) -> usize {
        self.rows.keys().filter(|key| key.starts_with("bundle#")).count()
    }

    /// What the digest was reserved for.
    fn purpose(&self, digest: Fingerprint) -> &'static str {
        let roots = self.roots();
        let links = roots.iter().flat_map(|root| root.new_with_old.iter().chain(&root.old_with_new));
        if links.into_iter().any(|link| link.tbs == digest) {
            return "link";
        }
        if self.issuings().iter().any(|issuing| issuing.tbs == Some(digest)) {
            return "certificate of an issuing authority";
        }
        if roots.iter().any(|root| root.tbs == Some(digest)) { "root" } else { "bundle" }
    }
}

impl Aws {
    /// An empty stack whose roots have P-256 keys: they sign SHA-256 digests, which is also the digest of a
    /// reservation.
    pub(crate) fn new() -> Self {
        let aws = Self::default();
        let algorithm = text(serde_json::to_value(KeyAlgorithm::EcdsaP256).unwrap().as_str().unwrap());
        aws.state().put([
            ("id", text("policy")),
            ("revision", AttributeValue::N("1".to_owned())),
            ("algorithm", algorithm),
        ]);
        aws
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Approves a device.
    pub(crate) fn approve(&self) {
        let one = || AttributeValue::N("1".to_owned());
        let row = [("pk", text("fleet#00")), ("sk", text("revision")), ("revision", one()), ("approved", one())];
        self.state().put(row);
    }

    /// Gives the job's lease to a conductor.
    pub(crate) fn lease(&self, job: u64, owner: &str) {
        self.state().put([("pk", text(job.to_string())), ("sk", text("conductor")), ("owner", text(owner))]);
    }

    /// The calls since this was last called.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let table = |name: &str| Some(name.to_owned());
        let names = Tables {
            certificates: table("certificates"),
            jobs: table("jobs"),
            devices: table("devices"),
            access: None,
            audit: table("audit"),
            heads: None,
        };
        let rules = self.tables();
        let rules: Vec<&Rule> = rules.iter().collect();
        Ledger::new(mock_client!(aws_sdk_dynamodb, RuleMode::MatchAny, &rules), names)
    }

    /// The authority as a newly started process has it.
    pub(crate) fn authority(&self) -> CertificateAuthority {
        let rules = self.kms();
        let rules: Vec<&Rule> = rules.iter().collect();
        let kms = mock_client!(aws_sdk_kms, RuleMode::MatchAny, &rules);
        let tagging = mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, &[&self.tagging()]);
        CertificateAuthority::new(self.ledger(), Vault::new(&kms, &tagging, "fleet"), time::Duration::days(30))
    }

    /// The authority that makes issuing authorities, as the conductor has it.
    pub(crate) fn conductor(&self) -> CertificateAuthority {
        self.authority().with_issuing(settings())
    }

    fn tables(&self) -> [Rule; 7] {
        use aws_sdk_dynamodb::Client;
        let (get, batch, query) = (self.clone(), self.clone(), self.clone());
        let (put, write, counter) = (self.clone(), self.clone(), self.clone());
        [
            mock!(Client::get_item).then_compute_output(move |request| {
                let row = get.state().rows.get(&key_of(request.key().unwrap())).cloned();
                GetItemOutput::builder().set_item(row).build()
            }),
            mock!(Client::batch_get_item).then_compute_output(move |request| {
                let state = batch.state();
                let tables = request.request_items().unwrap().iter();
                tables
                    .fold(BatchGetItemOutput::builder(), |answer, (table, wanted)| {
                        let found =
                            wanted.keys().iter().filter_map(|key| state.rows.get(&key_of(key)).cloned()).collect();
                        answer.responses(table, found)
                    })
                    .build()
            }),
            // A list and its revocations.
            mock!(Client::query).then_compute_output(move |request| {
                let values = request.expression_attribute_values().unwrap();
                // Or everything that a root, or an authority below it, signed.
                let (name, wanted) = match values.get(":list") {
                    Some(list) => ("pk", list),
                    None => ("generation", &values[":generation"]),
                };
                let is_wanted =
                    |row: &&Item| row.get(name) == Some(wanted) && (name == "pk" || row.contains_key("leaf"));
                let rows = query.state().rows.values().filter(is_wanted).cloned().collect();
                QueryOutput::builder().set_items(Some(rows)).build()
            }),
            mock!(Client::scan).then_output(|| ScanOutput::builder().build()),
            // The counter of job ids: the next number that is free.
            mock!(Client::update_item).then_compute_output(move |_| {
                let state = counter.state();
                let free = (7..).find(|id| !state.rows.contains_key(&format!("{id} meta"))).unwrap_or_default();
                UpdateItemOutput::builder().attributes("last", AttributeValue::N(free.to_string())).build()
            }),
            // A list by itself.
            mock!(Client::put_item).then_compute_response(move |request| {
                let mut state = put.state();
                if state.dead || state.failed_write == Some(state.writes + 1) {
                    state.failed_write = None;
                    return MockResponse::Error(PutItemError::unhandled("it is not done"));
                }
                let put = Put::builder()
                    .set_table_name(request.table_name().map(str::to_owned))
                    .set_item(request.item().cloned())
                    .set_condition_expression(request.condition_expression().map(str::to_owned))
                    .set_expression_attribute_names(request.expression_attribute_names().cloned())
                    .set_expression_attribute_values(request.expression_attribute_values().cloned());
                if !state.transact(&[TransactWriteItem::builder().put(put.build().unwrap()).build()]) {
                    let refused = ConditionalCheckFailedException::builder().build();
                    return MockResponse::Error(PutItemError::ConditionalCheckFailedException(refused));
                }
                if state.is_lost() || state.lost_write == Some(state.writes) {
                    return MockResponse::Error(PutItemError::unhandled("the answer is lost"));
                }
                MockResponse::Output(PutItemOutput::builder().build())
            }),
            mock!(Client::transact_write_items).then_compute_response(move |request| {
                let mut state = write.state();
                if state.dead || state.failed_write == Some(state.writes + 1) {
                    state.failed_write = None;
                    return MockResponse::Error(TransactWriteItemsError::unhandled("it is not done"));
                }
                if !state.transact(request.transact_items()) {
                    let reason = CancellationReason::builder().code("ConditionalCheckFailed").build();
                    let cancelled = TransactionCanceledException::builder().cancellation_reasons(reason).build();
                    return MockResponse::Error(TransactWriteItemsError::TransactionCanceledException(cancelled));
                }
                if state.is_lost() || state.lost_write == Some(state.writes) {
                    return MockResponse::Error(TransactWriteItemsError::unhandled("the answer is lost"));
                }
                MockResponse::Output(TransactWriteItemsOutput::builder().build())
            }),
        ]
    }

    fn kms(&self) -> [Rule; 9] {
        use aws_sdk_kms::Client;
        let (create, show, sign, name) = (self.clone(), self.clone(), self.clone(), self.clone());
        let (describe, enable, disable, give_up) = (self.clone(), self.clone(), self.clone(), self.clone());
        let cancel = self.clone();
        [
            mock!(Client::create_key).then_compute_response(move |request| {
                let mut state = create.state();
                if state.dead {
                    return MockResponse::Error(CreateKeyError::unhandled("dead"));
                }
                let arn = format!("key {}", state.keys.len() + 1);
                let tags = request.tags().iter().map(|tag| (tag.tag_key().to_owned(), tag.tag_value().to_owned()));
                let (pair, tags) = (Key::generate(KeyAlgorithm::EcdsaP256), tags.collect());
                let key = KmsKey { pair, disabled: false, pending: false, denied: false, tags };
                state.keys.insert(arn.clone(), key);
                state.calls.push("make a key".to_owned());
                if state.is_lost() || std::mem::take(&mut state.lost_key) {
                    return MockResponse::Error(CreateKeyError::unhandled("the answer is lost"));
                }
                let metadata = KeyMetadata::builder().key_id(&arn).arn(&arn).build().unwrap();
                MockResponse::Output(CreateKeyOutput::builder().key_metadata(metadata).build())
            }),
            mock!(Client::get_public_key).then_compute_response(move |request| {
                let state = show.state();
                let key = &state.keys[request.key_id().unwrap()];
                if key.denied {
                    let code = ErrorMetadata::builder().code("AccessDeniedException").build();
                    return MockResponse::Error(GetPublicKeyError::generic(code));
                }
                if key.disabled {
                    return MockResponse::Error(GetPublicKeyError::DisabledException(disabled()));
                }
                let answer = GetPublicKeyOutput::builder().key_spec(KeySpec::EccNistP256);
                let answer =
                    answer.key_usage(KeyUsageType::SignVerify).public_key(Blob::new(key.pair.spki_der.as_slice()));
                MockResponse::Output(answer.build())
            }),
            mock!(Client::sign).then_compute_response(move |request| {
                let mut state = sign.state();
                let (arn, digest) = (request.key_id().unwrap(), request.message().unwrap().as_ref());
                if state.dead {
                    return MockResponse::Error(SignError::unhandled("dead"));
                }
                if state.keys[arn].disabled || state.late > 0 {
                    state.late = state.late.saturating_sub(1);
                    return MockResponse::Error(SignError::DisabledException(disabled()));
                }
                if std::mem::take(&mut state.taken_over) {
                    state.take_over(1);
                }
                let of = Fingerprint::from_bytes(digest.try_into().unwrap());
                let purpose = state.purpose(of);
                state.calls.push(format!("sign a {purpose} with {arn}"));
                state.signed.push((purpose, of));
                if state.is_lost() {
                    return MockResponse::Error(SignError::unhandled("the answer is lost"));
                }
                let forged = state.forges.then(|| Key::generate(KeyAlgorithm::EcdsaP256));
                let signature = forged.as_ref().unwrap_or(&state.keys[arn].pair).sign(digest);
                MockResponse::Output(SignOutput::builder().signature(Blob::new(signature)).build())
            }),
            mock!(Client::create_alias).then_compute_response(move |request| {
                let mut state = name.state();
                if state.dead {
                    return MockResponse::Error(CreateAliasError::unhandled("dead"));
                }
                let (alias, arn) = (request.alias_name().unwrap(), request.target_key_id().unwrap());
                if state.names.contains_key(alias) {
                    let meta = ErrorMetadata::builder().code("AlreadyExistsException").build();
                    let exists = AlreadyExistsException::builder().meta(meta).build();
                    return MockResponse::Error(CreateAliasError::AlreadyExistsException(exists));
                }
                state.calls.push(format!("mark {arn}"));
                state.names.insert(alias.to_owned(), arn.to_owned());
                if state.is_lost() {
                    return MockResponse::Error(CreateAliasError::unhandled("the answer is lost"));
                }
                MockResponse::Output(CreateAliasOutput::builder().build())
            }),
            mock!(Client::describe_key).then_compute_response(move |request| {
                let state = describe.state();
                let Some(arn) = state.names.get(request.key_id().unwrap()) else {
                    return MockResponse::Error(DescribeKeyError::generic(
                        ErrorMetadata::builder().code("NotFoundException").build(),
                    ));
                };
                let metadata = KeyMetadata::builder().key_id(arn).arn(arn).build().unwrap();
                MockResponse::Output(DescribeKeyOutput::builder().key_metadata(metadata).build())
            }),
            mock!(Client::enable_key).then_compute_response(move |request| {
                let mut state = enable.state();
                let arn = request.key_id().unwrap();
                if state.dead {
                    return MockResponse::Error(EnableKeyError::unhandled("dead"));
                }
                if state.kept_asleep.contains(arn) {
                    let code = ErrorMetadata::builder().code("AccessDeniedException").build();
                    return MockResponse::Error(EnableKeyError::generic(code));
                }
                if state.keys[arn].pending {
                    return MockResponse::Error(EnableKeyError::generic(pending()));
                }
                state.calls.push(format!("wake {arn}"));
                state.keys.get_mut(arn).unwrap().disabled = false;
                if state.is_lost() {
                    return MockResponse::Error(EnableKeyError::unhandled("the answer is lost"));
                }
                MockResponse::Output(EnableKeyOutput::builder().build())
            }),
            mock!(Client::schedule_key_deletion).then_compute_response(move |request| {
                let mut state = give_up.state();
                let arn = request.key_id().unwrap();
                if state.dead {
                    return MockResponse::Error(ScheduleKeyDeletionError::unhandled("dead"));
                }
                let names: Vec<&String> =
                    state.names.iter().filter(|(_, of)| *of == arn).map(|(name, _)| name).collect();
                let is_denied = !names.is_empty() && !names.iter().any(|name| name.contains("/retired/"));
                if is_denied || state.keys[arn].denied {
                    let code = ErrorMetadata::builder().code("AccessDeniedException").build();
                    return MockResponse::Error(ScheduleKeyDeletionError::generic(code));
                }
                if state.keys[arn].pending {
                    return MockResponse::Error(ScheduleKeyDeletionError::generic(pending()));
                }
                state.calls.push(format!("give up {arn}"));
                let key = state.keys.get_mut(arn).unwrap();
                (key.disabled, key.pending) = (true, true);
                if state.is_lost() {
                    return MockResponse::Error(ScheduleKeyDeletionError::unhandled("the answer is lost"));
                }
                MockResponse::Output(ScheduleKeyDeletionOutput::builder().build())
            }),
            mock!(Client::cancel_key_deletion).then_compute_response(move |request| {
                let mut state = cancel.state();
                let arn = request.key_id().unwrap();
                if state.dead {
                    return MockResponse::Error(CancelKeyDeletionError::unhandled("dead"));
                }
                if !state.keys[arn].pending {
                    return MockResponse::Error(CancelKeyDeletionError::generic(pending()));
                }
                state.calls.push(format!("keep {arn}"));
                state.keys.get_mut(arn).unwrap().pending = false;
                if state.is_lost() {
                    return MockResponse::Error(CancelKeyDeletionError::unhandled("the answer is lost"));
                }
                MockResponse::Output(CancelKeyDeletionOutput::builder().build())
            }),
            mock!(Client::disable_key).then_compute_response(move |request| {
                let mut state = disable.state();
                let arn = request.key_id().unwrap();
                if state.dead {
                    return MockResponse::Error(DisableKeyError::unhandled("dead"));
                }
                if state.keys[arn].denied {
                    let code = ErrorMetadata::builder().code("AccessDeniedException").build();
                    return MockResponse::Error(DisableKeyError::generic(code));
                }
                if state.unseen {
                    let code = ErrorMetadata::builder().code("NotFoundException").build();
                    return MockResponse::Error(DisableKeyError::generic(code));
                }
                if state.keys[arn].pending {
                    return MockResponse::Error(DisableKeyError::generic(pending()));
                }
                state.calls.push(format!("put {arn} to sleep"));
                state.keys.get_mut(arn).unwrap().disabled = true;
                if state.is_lost() {
                    return MockResponse::Error(DisableKeyError::unhandled("the answer is lost"));
                }
                MockResponse::Output(DisableKeyOutput::builder().build())
            }),
        ]
    }

    fn tagging(&self) -> Rule {
        let aws = self.clone();
        mock!(aws_sdk_resourcegroupstagging::Client::get_resources).then_compute_output(move |request| {
            let state = aws.state();
            let fits = |key: &KmsKey| {
                let mut filters = request.tag_filters().iter();
                filters
                    .all(|filter| key.tags.get(filter.key().unwrap()).is_some_and(|tag| filter.values().contains(tag)))
            };
            let mapping = |(arn, key): (&String, &KmsKey)| {
                let tags = key.tags.iter().map(|(name, value)| Tag::builder().key(name).value(value).build().unwrap());
                ResourceTagMapping::builder().resource_arn(arn).set_tags(Some(tags.collect())).build()
            };
            let found = state.keys.iter().filter(|(_, key)| fits(key)).map(mapping).collect();
            GetResourcesOutput::builder().set_resource_tag_mapping_list(Some(found)).build()
        })
    }
}

pub(crate) fn settings() -> IssuingSettings {
    IssuingSettings {
        validity: time::Duration::days(730),
        backdate: time::Duration::hours(1),
        crl_base: "http://pki.example.com".to_owned(),
        roles: "arn:aws:iam::111122223333:role/rootcast/eu-central-1/fleet".parse().unwrap(),
        permitted: Default::default(),
        leaves_from_root: false,
    }
}

/// The first element of a DER sequence: what is signed.
fn tbs(der: &[u8]) -> &[u8] {
    let header = |der: &[u8]| match der[1] {
        short @ ..0x80 => (2, usize::from(short)),
        long => {
            let octets = usize::from(long & 0x7f);
            (2 + octets, der[2..2 + octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
        }
    };
    let inner = &der[header(der).0..];
    let (start, length) = header(inner);
    &inner[..start + length]
}

fn disabled() -> DisabledException {
    DisabledException::builder().meta(ErrorMetadata::builder().code("DisabledException").build()).build()
}
