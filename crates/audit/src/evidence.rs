//! **What**: what a vault can tell an auditor of a period: [`Gathered`]: the population of sessions, what each was
//! allowed to do and did (tools used, what was denied), digests, keys, erasures. **Why**: SOC 2 asks for complete
//! populations, and for evidence that nobody can edit afterwards. **Invariants**: from the index and the chain, no
//! content, and only what signed digests name; every such line of the period counts for one session, or as a line
//! without one; sums are exact; lines that no signed digest covers are reported separately. **Not here**: files and
//! signatures (`bundle`), judging (`verify`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::chains::{Scope, chains};
use super::error::ReadError;
use super::folders::shredded;
use super::location::Vault;
use super::read::find::day_before;
use super::read::{Missed, each_signed_row, each_unsigned_row};
use super::signed::{Signed, there};
use vault::calls::{Calls, Telling, is_denied, is_model_line};
use vault::chain::digest::{Digest, MadeBy};
use vault::chain::note::VerifyKey;
use vault::names::{SIGNATURE, account_segment, digest_name};
use vault::row::{Erasure, Kind, Row};
use vault::store::ObjectKind;

pub mod bundle;
#[cfg(test)]
mod tests;

/// Sessions of one bundle.
const MAX_SESSIONS: usize = 2_000_000;

/// A period: arrival at the gateway, RFC 3339; the end is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// From.
    pub from: String,
    /// Until, exclusive.
    pub to: String,
}

impl Period {
    fn holds(&self, row: &Row) -> bool {
        *row.tail.ingest_ts >= *self.from && *row.tail.ingest_ts < *self.to
    }

    /// Whether a folder of the index, named by day of arrival, can hold lines of it.
    fn may_hold(&self, day: &str) -> bool {
        let part = |text: &str| text.get(..10).unwrap_or_default().to_owned();
        // what arrived before midnight may stand in a digest's folder of the next day, or the day before
        let (from, to) = (day_before(&part(&self.from)), part(&self.to));
        from.is_none_or(|from| day >= from.as_str()) && (day <= to.as_str() || day_before(day) == Some(to))
    }
}

/// A session of the period.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Session {
    /// Account.
    pub account: String,
    /// Tenant, as the index shows it.
    pub tenant: String,
    /// Session id, as the index shows it; `trace-…` for records without one.
    pub session: String,
    /// First and last item's own time.
    pub first: String,
    /// See `first`.
    pub last: String,
    /// Index lines.
    pub lines: u64,
    /// Lines with content in the vault.
    pub with_content: u64,
    /// Model calls, each once.
    pub model_calls: u64,
    /// Tool calls, each once.
    pub tool_calls: u64,
    /// Permission decisions.
    pub decisions: u64,
    /// Of these, denied.
    pub denied: u64,
    /// Items that failed.
    pub failed: u64,
    /// Model calls without a price.
    pub unpriced: u64,
    /// Sum, exact, USD; null: too large to add.
    #[serde(serialize_with = "as_text")]
    pub cost_usd: Option<Decimal>,
    /// Turns, as the client numbers or names them.
    pub turns: BTreeSet<String>,
    /// Users' pseudonyms.
    pub users: BTreeSet<String>,
    /// Agents.
    pub actors: BTreeSet<String>,
    /// Their versions.
    pub agent_versions: BTreeSet<String>,
    /// Where they ran.
    pub environments: BTreeSet<String>,
    /// Issues they worked on.
    pub issues: BTreeSet<String>,
    /// Commits they were built from.
    pub commits: BTreeSet<String>,
    /// Ids of the keys that open it.
    pub key_ids: BTreeSet<String>,
}

/// What a session did at the boundary: a line for each tool and decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Boundary {
    /// Account.
    pub account: String,
    /// Tenant.
    pub tenant: String,
    /// Session.
    pub session: String,
    /// Tool; null where the client does not tell.
    pub tool: Option<String>,
    /// `used`, or what was decided: `accept`, `reject`, …
    pub what: String,
    /// It was not allowed.
    pub denied: bool,
    /// Who decided, as the client tells: `config`, `hook`, `user_reject`, …; null where it does not.
    pub decided_by: Option<String>,
    /// Agent that wanted it.
    pub actor: Option<String>,
    /// User for whom, a pseudonym.
    pub user: Option<String>,
}

/// How often, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// Of these, failed.
    pub failed: u64,
    /// First time.
    pub first: String,
    /// Last time.
    pub last: String,
}

/// A digest of the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DigestOf {
    /// Its object.
    pub name: String,
    /// Hash of its bytes.
    pub sha256: String,
    /// Account, writer, epoch, number.
    pub account: String,
    /// Writer.
    pub writer: String,
    /// Epoch.
    pub epoch: String,
    /// Number.
    pub n: u64,
    /// When it was made.
    pub end: String,
    /// Leaves.
    pub tree_size: u64,
    /// Root, base64.
    pub root: String,
    /// Signed checkpoint.
    pub note: String,
    /// Lines acknowledged that were not in the store then.
    pub pending: u64,
    /// Lines lost.
    pub gaps: u64,
    /// The gateway's version and the hash of its configuration; null where the digest does not tell.
    pub made_by: Option<MadeBy>,
}

/// A configuration under which digests were made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Configuration {
    /// Account.
    pub account: String,
    /// Writer.
    pub writer: String,
    /// Version of the gateway and hash of its configuration; null where digests do not tell.
    pub made_by: Option<MadeBy>,
}

/// When digests were made under it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spell {
    /// Digests.
    pub digests: u64,
    /// End of the first one.
    pub first: String,
    /// End of the last one.
    pub last: String,
}

/// A key object that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyOf {
    /// The object.
    pub name: String,
    /// Key id.
    pub key_id: String,
    /// How it is sealed.
    pub kind: &'static str,
}

/// An erasure's line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Erased {
    /// Account.
    pub account: String,
    /// When.
    pub at: String,
    /// `writer/epoch/number`.
    pub leaf: String,
    /// What it says.
    pub erasure: Erasure,
}

/// An object that no key given signed, or whose digest nobody did: it counts for nothing here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsigned {
    /// The object; null where only `why` names it.
    pub name: Option<String>,
    /// Lines of the period that are in it.
    pub lines: u64,
    /// What it is, in words.
    pub why: String,
}

/// Everything of a period.
#[derive(Default)]
pub struct Gathered {
    /// Index lines.
    pub lines: u64,
    /// Of these, without session and trace.
    pub homeless: u64,
    /// Lines that say that one was lost.
    pub gaps: u64,
    /// Sessions.
    pub sessions: BTreeMap<(String, String, String), Session>,
    /// Tools and decisions.
    pub boundary: BTreeMap<Boundary, Times>,
    /// Digests.
    pub digests: Vec<DigestOf>,
    /// Configurations of the gateways that made them.
    pub configurations: BTreeMap<Configuration, Spell>,
    /// Keys of the period's days.
    pub keys: Vec<KeyOf>,
    /// Erasures, whatever period their content is of.
    pub erased: Vec<Erased>,
    /// What nobody signed: planted, or about to be signed.
    pub unsigned: Vec<Unsigned>,
    /// What was signed and can't be read, a line each: the population is not complete.
    pub closed: Vec<String>,
    /// Tool calls that were told.
    calls: Calls,
}

/// Gathers a period, of one account or of all: what digests name that one of `keys` signed.
///
/// # Errors
/// One line: the store fails, or there is too much for one bundle.
pub async fn gather(
    vault: &Vault,
    period: &Period,
    account: Option<&str>,
    keys: &[VerifyKey],
) -> Result<Gathered, ReadError> {
    let mut all = Gathered::default();
    let mut full = false;
    let mut each = |row: Row| full |= !all.take(&row, period);
    let (signed, day) = (Signed::read(vault, keys, account).await?, |day: &str| period.may_hold(day));
    let Missed { mut closed, older } = each_signed_row(vault, account, &day, &signed, &mut each).await?;
    closed.extend(older);
    closed.extend_from_slice(signed.closed());
    if full {
        return Err(ReadError::invalid(format!(
            "more than {MAX_SESSIONS} sessions: make a bundle for each account, or shorter ones"
        )));
    }
    all.closed = closed;
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    let mut each = |object: &str, row: Row| {
        if period.holds(&row) {
            match others.get_mut(object) {
                Some(lines) => *lines += 1,
                None => drop(others.insert(object.to_owned(), 1)),
            }
        }
    };
    let strange = each_unsigned_row(vault, account, &day, &signed, &mut each).await?;
    let why = "no digest that a key given here signed names it";
    let others = others.into_iter().map(|(name, lines)| Unsigned { name: Some(name), lines, why: why.to_owned() });
    let strange = strange.into_iter().map(|why| Unsigned { name: None, lines: 0, why });
    all.unsigned = others.chain(strange).collect();
    all.digests(vault, period, account, keys).await?;
    all.list_keys(vault, period, account).await?;
    Ok(all)
}

impl Gathered {
    /// Whether nothing that was signed is missing from it.
    pub fn is_complete(&self) -> bool {
        self.closed.is_empty()
    }

    /// Takes a line; false: there are too many sessions.
    fn take(&mut self, row: &Row, period: &Period) -> bool {
        if !period.holds(row) {
            return true;
        }
        let tail = &row.tail;
        self.lines += 1;
        if let (Some(Kind::Erasure), Some(erasure)) = (tail.kind, &tail.erasure) {
            let leaf = format!("{}/{}/{:012}", tail.writer, tail.epoch, row.leaf);
            let erasure = Erasure { request: None, ..(**erasure).clone() };
            self.erased.push(Erased { account: tail.account.clone(), at: tail.ts.clone(), leaf, erasure });
            return true;
        }
        if tail.kind == Some(Kind::KeyCopies) {
            return true;
        }
        if tail.kind == Some(Kind::Gap) {
            self.gaps += 1;
            return true;
        }
        let trace = || tail.trace_id.as_ref().map(|trace| format!("trace-{trace}"));
        let Some(id) = tail.session_id.clone().or_else(trace) else {
            self.homeless += 1;
            return true;
        };
        let key = (tail.account.clone(), tail.tenant.clone(), id);
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&key) {
            return false;
        }
        let told = Telling::of(row);
        let is_new = (self.calls.is_new_tool(&told), self.calls.is_new_failure(&told));
        self.boundary(row, &key, is_new.0);
        let (account, tenant, session) = key.clone();
        let new = || Session { account, tenant, session, cost_usd: Some(Decimal::ZERO), ..Session::default() };
        self.sessions.entry(key).or_insert_with(new).take(row, is_new);
        true
    }

    fn boundary(&mut self, row: &Row, (account, tenant, session): &(String, String, String), is_tool_call: bool) {
        let tail = &row.tail;
        let what = match (tail.call.as_str(), &tail.decision) {
            ("permission", decision) => decision.clone().unwrap_or_else(|| "asked".to_owned()),
            (_, Some(decision)) if is_denied(decision) => decision.clone(),
            ("tool", _) if is_tool_call => "used".to_owned(),
            _ => return,
        };
        let key = Boundary {
            account: account.clone(),
            tenant: tenant.clone(),
            session: session.clone(),
            tool: tail.tool_name.clone(),
            denied: is_denied(&what),
            decided_by: tail.decided_by.clone(),
            what,
            actor: tail.actor.clone(),
            user: tail.user_key.clone(),
        };
        let times = self.boundary.entry(key).or_default();
        times.count += 1;
        times.failed += u64::from(tail.status != "ok");
        span(&mut times.first, &mut times.last, &tail.ts);
    }

    async fn digests(
        &mut self,
        vault: &Vault,
        period: &Period,
        account: Option<&str>,
        keys: &[VerifyKey],
    ) -> Result<(), ReadError> {
        for (line, epochs) in chains(vault, Scope { account, writer: None }).await? {
            for (epoch, numbers) in epochs {
                for n in numbers {
                    let name = vault.full(&digest_name(&line.account, &line.writer, &epoch, n));
                    let (bytes, signed) = match signed_by(vault, &name, keys).await? {
                        Some(signed) => signed,
                        None => (Bytes::new(), false),
                    };
                    let digest = serde_json::from_slice::<Digest>(&bytes).ok().filter(|digest| {
                        let here = (account_segment(&digest.account), &digest.writer, &digest.epoch, digest.n);
                        signed && here == (line.account.clone(), &line.writer, &epoch, n)
                    });
                    let Some(digest) = digest else {
                        let why =
                            "no key given here signed this digest, or it belongs somewhere else, or is none".to_owned();
                        self.unsigned.push(Unsigned { name: Some(name), lines: 0, why });
                        continue;
                    };
                    if digest.end < period.from || digest.start >= period.to {
                        continue;
                    }
                    self.configuration(&digest);
                    self.digests.push(DigestOf {
                        name,
                        sha256: kernel::hex::encode(&Sha256::digest(&bytes)),
                        account: digest.account,
                        writer: digest.writer,
                        epoch: digest.epoch,
                        n: digest.n,
                        end: digest.end,
                        tree_size: digest.tree_size,
                        root: digest.root,
                        note: digest.note,
                        pending: digest.counters.pending,
                        gaps: digest.counters.gaps,
                        made_by: digest.made_by,
                    });
                }
            }
        }
        Ok(())
    }

    fn configuration(&mut self, digest: &Digest) {
        let (account, writer) = (digest.account.clone(), digest.writer.clone());
        let key = Configuration { account, writer, made_by: digest.made_by.clone() };
        let spell = self.configurations.entry(key).or_default();
        spell.digests += 1;
        span(&mut spell.first, &mut spell.last, &digest.end);
    }

    async fn list_keys(&mut self, vault: &Vault, period: &Period, account: Option<&str>) -> Result<(), ReadError> {
        let folder = account.map_or("keys/".to_owned(), |account| format!("keys/{}/", account_segment(account)));
        for name in vault.list(ObjectKind::Key, &folder).await? {
            let Some(key) = shredded(&name) else { continue };
            let day = key.folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            if period.may_hold(day) {
                self.keys.push(KeyOf { key_id: key.id, name, kind: "age v1, X25519" });
            }
        }
        Ok(())
    }
}

impl Session {
    fn take(&mut self, row: &Row, (is_tool_call, is_failure): (bool, bool)) {
        let tail = &row.tail;
        self.lines += 1;
        self.with_content += u64::from(row.object_key.is_some());
        let status = tail.cost_status.as_deref().unwrap_or_default();
        self.model_calls += u64::from(is_model_line(tail));
        self.unpriced += u64::from(status == "unpriced");
        self.tool_calls += u64::from(is_tool_call);
        self.failed += u64::from(is_failure);
        self.decisions += u64::from(tail.decision.is_some());
        self.denied += u64::from(tail.decision.as_deref().is_some_and(is_denied));
        if status == "priced" {
            let usd = tail.cost_usd.as_deref().and_then(|usd| usd.parse::<Decimal>().ok()).unwrap_or_default();
            self.cost_usd = self.cost_usd.and_then(|sum| sum.checked_add(usd)).map(|sum| sum.normalize());
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
        span(&mut self.first, &mut self.last, &tail.ts);
    }
}

/// A digest's bytes, and whether one of the keys signed them. `None`: it is not there, is larger than one can be, or
/// nobody can read it.
async fn signed_by(vault: &Vault, name: &str, keys: &[VerifyKey]) -> Result<Option<(Bytes, bool)>, ReadError> {
    let Some(bytes) = there(vault, name).await? else { return Ok(None) };
    let signature = there(vault, &format!("{name}{SIGNATURE}")).await?;
    let signed = signature.is_some_and(|signature| keys.iter().any(|key| key.signed(&bytes, &signature)));
    Ok(Some((bytes, signed)))
}

/// A sum as index lines have it.
fn as_text<S: Serializer>(usd: &Option<Decimal>, serializer: S) -> Result<S::Ok, S::Error> {
    usd.map(|usd| usd.to_string()).serialize(serializer)
}

/// Widens a span of time.
fn span(first: &mut String, last: &mut String, at: &str) {
    if first.is_empty() || at < first.as_str() {
        at.clone_into(first);
    }
    if at > last.as_str() {
        at.clone_into(last);
    }
}
