//! Gathers a vault's evidence for a period ([`PeriodEvidence`]): every session with its tools, decisions and denials;
//! digests, keys and erasures. SOC 2 asks for complete populations, and for evidence that can't be edited afterwards.
//! The data has no content, and comes only from index objects that signed digests name; other objects are listed
//! separately. Each line of the period counts for its session, or as a line without one, unless it records a gap, an
//! erasure or key copies. Neighbours: `bundle` (files and signatures), `verify` (verification).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use clap::Args;
use command::error::CommandError;
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};

use super::error::{ReadError, Result};
use super::folders::parse_key_name;
use super::location::Vault;
use super::read::find::day_before;
use super::read::{IndexLines, UnreadIndex, each_row};
use super::signed_index::SignedIndex;
use kernel::sha256::Sha256;
use vault::call_dedup::{CallDeduplicator, CallReport, is_denied};
use vault::chain::digest::{ChainDigest, GatewayIdentity};
use vault::chain::note::VerifyKey;
use vault::index_row::{ErasureRecord, IndexRow, RowKind};
use vault::object_names::{account_segment, parse_time, rfc3339};
use vault::recipients::AccountRecipients;
use vault::store::ObjectKind;

pub mod bundle;
#[cfg(test)]
mod tests;

/// Most sessions in one bundle, because all are kept in memory.
const MAX_SESSIONS: usize = 2_000_000;

/// A period of arrival at the gateway, RFC 3339.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidencePeriod {
    /// First day or time of arrival (UTC): `2026-11-01`.
    #[arg(long, value_name = "TIME", value_parser = parse_period_time)]
    pub from: String,
    /// End of the period (exclusive), a day or time: `2026-12-01`.
    #[arg(long, value_name = "TIME", value_parser = parse_period_time)]
    pub to: String,
}

/// Converts a day or time to the form used in index lines.
fn parse_period_time(text: &str) -> Result<String, CommandError> {
    let time = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = parse_time(&time).filter(|_| time.ends_with('Z')).map(rfc3339);
    let problem = "must be a day or time such as `2026-11-01` or `2026-11-01T08:00:00Z`";
    time.ok_or_else(|| CommandError::Usage(problem.to_owned()))
}

impl EvidencePeriod {
    fn contains(&self, row: &IndexRow) -> bool {
        *row.tail.ingest_ts >= *self.from && *row.tail.ingest_ts < *self.to
    }

    /// Whether an index folder, named by day of arrival, may contain lines of the period.
    fn may_contain_day(&self, day: &str) -> bool {
        let day_of = |time: &str| time.get(..10).unwrap_or_default().to_owned();
        // a line that arrived around midnight may be in the folder of the next or the previous day
        let (first, last) = (day_before(&day_of(&self.from)), day_of(&self.to));
        first.is_none_or(|first| day >= first.as_str()) && (day <= last.as_str() || day_before(day) == Some(last))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionEvidence {
    pub account: String,
    /// Tenant, as the index shows it.
    pub tenant: String,
    /// Session id, as the index shows it; `trace-…` for records without one.
    pub session: String,
    /// Earliest time of the session's items.
    pub first_seen: String,
    /// Latest time of the session's items.
    pub last_seen: String,
    /// Number of index lines.
    pub lines: u64,
    /// Number of lines with content in the vault.
    pub lines_with_content: u64,
    /// Model calls; a call that is reported twice counts once.
    pub model_calls: u64,
    /// Tool calls; a call that is reported twice counts once.
    pub tool_calls: u64,
    pub decisions: u64,
    /// Denied decisions.
    pub denials: u64,
    /// Failures; a failure that is reported twice counts once.
    pub failures: u64,
    /// Model calls without a price.
    pub unpriced_calls: u64,
    /// Exact sum in USD; null if the sum is too large to compute.
    #[serde(serialize_with = "as_text")]
    pub cost_usd: Option<Decimal>,
    /// Turns, as the client numbers or names them.
    pub turns: BTreeSet<String>,
    pub users: BTreeSet<String>,
    pub actors: BTreeSet<String>,
    pub agent_versions: BTreeSet<String>,
    /// Environments in which the agents ran.
    pub environments: BTreeSet<String>,
    /// Issues that the agents worked on.
    pub issues: BTreeSet<String>,
    /// Commits from which the agents were built.
    pub commits: BTreeSet<String>,
    pub key_ids: BTreeSet<String>,
}

/// A tool that a session used, or a decision about its use.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ToolAction {
    /// Account that sent the session.
    pub account: String,
    /// Tenant, as the index shows it.
    pub tenant: String,
    /// Session id, as the index shows it.
    pub session: String,
    /// Tool name; null if the client does not report it.
    pub tool: Option<String>,
    /// `used`, or the decision: `accept`, `reject`, …
    pub outcome: String,
    pub denied: bool,
    /// Who decided, as the client reports: `config`, `hook`, `user_reject`, …; null if the client does not report this.
    pub decided_by: Option<String>,
    /// Agent that requested the action.
    pub actor: Option<String>,
    /// Pseudonym of the user for whom the agent acted.
    pub user: Option<String>,
}

/// Count and time range of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ActionOccurrences {
    /// How often the action happened.
    pub count: u64,
    /// How often the action failed.
    pub failures: u64,
    pub first_seen: String,
    pub last_seen: String,
}

/// A digest of the period, without its list of objects.
pub struct DigestEvidence {
    pub name: String,
    /// SHA-256 of the digest's bytes, hex.
    pub sha256: String,
    pub digest: ChainDigest,
}

/// A gateway configuration under which digests were made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GatewayConfiguration {
    /// Account whose lines the digests cover.
    pub account: String,
    pub writer: String,
    /// The gateway's version and the hash of its configuration; null if the digests have none.
    pub made_by: Option<GatewayIdentity>,
}

/// The public keys to which gateways sealed the session keys of an account, as signed digests say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct SealedTo {
    /// Account whose lines the digests cover.
    pub account: String,
    pub writer: String,
    /// Who can open the account's content.
    pub recipients: AccountRecipients,
}

/// The digests made under one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfigurationPeriod {
    pub digests: u64,
    pub first_digest: String,
    pub last_digest: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErasureLine {
    /// Account of the erased content.
    pub account: String,
    pub time: String,
    /// Leaf of the line: `writer/epoch/number`.
    pub leaf: String,
    pub erasure: ErasureRecord,
}

/// An object that no given key signed, or that no signed digest names. The evidence does not count its lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnsignedObject {
    /// Name of the object; null if only `reason` names it.
    pub name: Option<String>,
    /// Number of the object's lines that belong to the period.
    pub lines: u64,
    /// Why the object does not count, in words.
    pub reason: String,
}

#[derive(Default)]
pub struct PeriodEvidence {
    /// Number of index lines.
    pub lines: u64,
    /// Lines without session and trace.
    pub without_session: u64,
    /// Lines that record a lost line.
    pub gaps: u64,
    /// Sessions, by account, tenant and session id.
    pub sessions: BTreeMap<(String, String, String), SessionEvidence>,
    pub actions: BTreeMap<ToolAction, ActionOccurrences>,
    pub digests: Vec<DigestEvidence>,
    /// Configurations of the gateways that made the digests.
    pub configurations: BTreeMap<GatewayConfiguration, ConfigurationPeriod>,
    /// Who can open the content of each account, from when to when.
    pub recipients: BTreeMap<SealedTo, ConfigurationPeriod>,
    /// Names and key ids of the key objects.
    pub keys: Vec<(String, String)>,
    /// Erasures that were recorded in the period; their content may be older.
    pub erasures: Vec<ErasureLine>,
    /// Objects without a valid signature: planted, or not signed yet.
    pub unsigned: Vec<UnsignedObject>,
    /// Signed objects that can't be read, a line each. If there are any, the population is incomplete.
    pub unreadable: Vec<String>,
    /// Recognises repeated reports of a tool call or failure.
    calls: CallDeduplicator,
}

/// Gathers a period, of one account or of all, from objects named by digests that one of `keys` signed.
///
/// # Errors
/// The store fails, or there are too many sessions for one bundle.
pub async fn gather_evidence(
    vault: &Vault,
    period: &EvidencePeriod,
    account: Option<&str>,
    keys: &[VerifyKey],
) -> Result<PeriodEvidence> {
    let mut evidence = PeriodEvidence::default();
    let (mut signed, mut unsigned_digests) = (SignedIndex::default(), Vec::new());
    let mut add_digest = |name: &str, digest: Option<(&Bytes, ChainDigest)>| match digest {
        Some((bytes, digest)) => evidence.add_digest(name, bytes, digest, period),
        None => {
            let reason = "this digest is not signed by a given key, was moved, or is malformed".to_owned();
            unsigned_digests.push(UnsignedObject { name: Some(name.to_owned()), lines: 0, reason });
        }
    };
    signed.visit_new_digests(vault, keys, account, &mut add_digest).await?;
    let mut is_full = false;
    let mut add_row = |_: &str, row: IndexRow| is_full |= !evidence.add_row(&row, period);
    let may_contain_day = |day: &str| period.may_contain_day(day);
    let UnreadIndex { mut unreadable, older_missing } =
        each_row(vault, account, &may_contain_day, IndexLines::Signed(&signed), &mut add_row).await?;
    unreadable.extend(older_missing);
    unreadable.extend_from_slice(&signed.unreadable);
    if is_full {
        return Err(ReadError::new(format!(
            "more than {MAX_SESSIONS} sessions: make a bundle for each account, or for shorter periods"
        )));
    }
    evidence.unreadable = unreadable;
    let mut unsigned_lines: BTreeMap<String, u64> = BTreeMap::new();
    let mut count_row = |object: &str, row: IndexRow| {
        if period.contains(&row) {
            *unsigned_lines.entry(object.to_owned()).or_default() += 1;
        }
    };
    let unread = each_row(vault, account, &may_contain_day, IndexLines::Unsigned(&signed), &mut count_row).await?;
    let reason = "no digest signed by a given key names it";
    let named = unsigned_lines.into_iter().map(|(name, lines)| (Some(name), lines, reason.to_owned()));
    let unnamed = unread.unreadable.into_iter().map(|message| (None, 0, message));
    let unsigned = named.chain(unnamed).map(|(name, lines, reason)| UnsignedObject { name, lines, reason });
    evidence.unsigned = unsigned.chain(unsigned_digests).collect();
    evidence.list_keys(vault, period, account).await?;
    Ok(evidence)
}

impl PeriodEvidence {
    /// Whether all signed objects could be read.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// Counts a line, if it arrived in the period; false if there are too many sessions.
    fn add_row(&mut self, row: &IndexRow, period: &EvidencePeriod) -> bool {
        if !period.contains(row) {
            return true;
        }
        let tail = &row.tail;
        self.lines += 1;
        if let (Some(RowKind::Erasure), Some(erasure)) = (tail.kind, &tail.erasure) {
            let leaf = format!("{}/{}/{:012}", tail.writer, tail.epoch, row.leaf);
            let erasure = ErasureRecord { request: None, ..(**erasure).clone() };
            self.erasures.push(ErasureLine { account: tail.account.clone(), time: tail.ts.clone(), leaf, erasure });
            return true;
        }
        if matches!(tail.kind, Some(RowKind::KeyCopies | RowKind::Opening)) {
            return true;
        }
        if tail.kind == Some(RowKind::Gap) {
            self.gaps += 1;
            return true;
        }
        let Some(id) = tail.session_name() else {
            self.without_session += 1;
            return true;
        };
        let key = (tail.account.clone(), tail.tenant.clone(), id.into_owned());
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&key) {
            return false;
        }
        let report = CallReport::from_row(row);
        let (is_tool_call, is_failure) = (self.calls.is_new_tool(&report), self.calls.is_new_failure(&report));
        self.add_tool_action(row, &key, is_tool_call);
        let (account, tenant, session) = key.clone();
        let new_session = || SessionEvidence {
            account,
            tenant,
            session,
            cost_usd: Some(Decimal::ZERO),
            ..SessionEvidence::default()
        };
        self.sessions.entry(key).or_insert_with(new_session).add_row(row, &report, is_tool_call, is_failure);
        true
    }

    fn add_tool_action(
        &mut self,
        row: &IndexRow,
        (account, tenant, session): &(String, String, String),
        is_tool_call: bool,
    ) {
        let tail = &row.tail;
        if tail.budget.as_ref().is_some_and(|budget| budget.shadow) {
            return; // the agent went on
        }
        let outcome = match (tail.call.as_str(), &tail.decision) {
            ("permission", decision) => decision.clone().unwrap_or_else(|| "asked".to_owned()),
            (_, Some(decision)) if is_denied(decision) => decision.clone(),
            ("tool", _) if is_tool_call => "used".to_owned(),
            _ => return,
        };
        let action = ToolAction {
            account: account.clone(),
            tenant: tenant.clone(),
            session: session.clone(),
            tool: tail.tool_name.clone(),
            denied: is_denied(&outcome),
            decided_by: tail.decided_by.clone(),
            outcome,
            actor: tail.actor.clone(),
            user: tail.user_key.clone(),
        };
        let occurrences = self.actions.entry(action).or_default();
        occurrences.count += 1;
        occurrences.failures += u64::from(tail.status != "ok");
        widen_range(&mut occurrences.first_seen, &mut occurrences.last_seen, &tail.ts);
    }

    /// Adds a digest that a given key signed, if it covers a part of the period.
    fn add_digest(&mut self, name: &str, bytes: &[u8], digest: ChainDigest, period: &EvidencePeriod) {
        if digest.end < period.from || digest.start >= period.to {
            return;
        }
        self.add_configuration(&digest);
        let (name, sha256) = (name.to_owned(), kernel::hex::encode(&Sha256::digest(bytes)));
        self.digests.push(DigestEvidence { name, sha256, digest: ChainDigest { objects: Vec::new(), ..digest } });
    }

    fn add_configuration(&mut self, digest: &ChainDigest) {
        let (account, writer, mut made_by) = (digest.account.clone(), digest.writer.clone(), digest.made_by.clone());
        let recipients = made_by.as_mut().and_then(|gateway| gateway.recipients.take());
        let configuration = GatewayConfiguration { account: account.clone(), writer: writer.clone(), made_by };
        self.configurations.entry(configuration).or_default().add_digest(digest);
        if let Some(recipients) = recipients {
            self.recipients.entry(SealedTo { account, writer, recipients }).or_default().add_digest(digest);
        }
    }

    async fn list_keys(&mut self, vault: &Vault, period: &EvidencePeriod, account: Option<&str>) -> Result<()> {
        let folder = account.map_or("keys/".to_owned(), |account| format!("keys/{}/", account_segment(account)));
        for name in vault.list(ObjectKind::Key, &folder).await? {
            let Some(key) = parse_key_name(&name) else { continue };
            let day = key.folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            if period.may_contain_day(day) {
                self.keys.push((name, key.id));
            }
        }
        Ok(())
    }
}

impl ConfigurationPeriod {
    fn add_digest(&mut self, digest: &ChainDigest) {
        self.digests += 1;
        widen_range(&mut self.first_digest, &mut self.last_digest, &digest.end);
    }
}

impl SessionEvidence {
    /// Adds a line; `is_tool_call` and `is_failure` say whether it is the first report of one.
    fn add_row(&mut self, row: &IndexRow, report: &CallReport<'_>, is_tool_call: bool, is_failure: bool) {
        let tail = &row.tail;
        self.lines += 1;
        self.lines_with_content += u64::from(row.object_key.is_some());
        self.model_calls += u64::from(report.is_model_call());
        self.unpriced_calls += u64::from(report.cost_status == "unpriced");
        self.tool_calls += u64::from(is_tool_call);
        self.failures += u64::from(is_failure);
        self.decisions += u64::from(tail.decision.is_some());
        self.denials += u64::from(tail.decision.as_deref().is_some_and(is_denied));
        if report.is_charged() {
            self.cost_usd =
                self.cost_usd.and_then(|sum| sum.checked_add(report.charged_usd())).map(|sum| sum.normalize());
        }
        for (set, value) in [
            (&mut self.turns, &tail.turn),
            (&mut self.users, &tail.user_key),
            (&mut self.actors, &tail.actor),
            (&mut self.agent_versions, &tail.agent_version),
            (&mut self.environments, &tail.environment),
            (&mut self.issues, &tail.issue_id),
            (&mut self.commits, &tail.commit_sha),
            (&mut self.key_ids, &tail.key_id),
        ] {
            set.extend(value.clone());
        }
        widen_range(&mut self.first_seen, &mut self.last_seen, &tail.ts);
    }
}

/// Serialises a sum as text, as index lines do.
fn as_text<S: Serializer>(usd: &Option<Decimal>, serializer: S) -> Result<S::Ok, S::Error> {
    usd.map(|usd| usd.to_string()).serialize(serializer)
}

/// Widens the range from `first` to `last`, so that it includes `time`. Empty texts are an empty range.
fn widen_range(first: &mut String, last: &mut String, time: &str) {
    if first.is_empty() || time < first.as_str() {
        time.clone_into(first);
    }
    if time > last.as_str() {
        time.clone_into(last);
    }
}
