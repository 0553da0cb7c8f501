//! Names of vault objects, epochs and dates, shared by writer, reader and uploader. A name is `prefix` plus segments of
//! `[A-Za-z0-9._%=/-]`, each at most 255 bytes; an account segment can't collide with the vault's own folders;
//! parsing a name returns what was formatted. Neighbour: `kernel::pseudonym` decides which ids may be shown.

use std::sync::Arc;

use kernel::calendar::utc;
use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use kernel::rng::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::index_row::{IndexRow, RowKind, RowTail};

pub use kernel::calendar::{date, rfc3339};
pub use kernel::folders::{account_segment, session_folder};

/// Tenant of records without one.
pub const UNATTRIBUTED: &str = "unattributed";
/// Session segment of quarantined requests; no session id has this form.
pub const QUARANTINE_SESSION: &str = "=quarantine";
/// Largest object number that fits into a name.
pub const MAX_NUMBER: u64 = 9_999_999_999;
/// Suffix of key object names.
pub const KEY_SUFFIX: &str = ".age";
/// Suffix that a signature's name adds to its digest's name.
pub const SIGNATURE_SUFFIX: &str = ".sig";
/// Alphabet of Crockford's base 32.
const BASE32_DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Longest segment that shows a turn id; a longer one is replaced by a pseudonym.
const MAX_TURN_BYTES: usize = 64;

/// How content is arranged in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "StoreLayout")]
pub enum ObjectLayout {
    /// Objects of one session.
    #[default]
    Session, // for some time, in the session's folder
    /// Objects of all sessions of an account.
    Packed, // by the hour
    /// One object per turn.
    Turn, // in the session's folder; not compressed
}

impl ObjectLayout {
    fn suffix(self) -> &'static str {
        match self {
            Self::Session | Self::Packed => ".agev",
            Self::Turn => ".json.age",
        }
    }
}

/// Where a fragment belongs: account, tenant, session and day, the first three as segments of object names.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FragmentScope {
    pub account: String,
    pub tenant: String,
    /// Session segment, or `trace-{trace id}`.
    pub session: String,
    /// UTC day of arrival, `2026-11-20`.
    pub date: String,
}

impl FragmentScope {
    /// The scope of raw ids. A record without a session gets its trace as `session`.
    pub fn new(
        ids: &dyn IdPolicy,
        account: &str,
        tenant: Option<&str>,
        session: SessionName<'_>,
        day: UnixNanos,
    ) -> Self {
        let tenant = tenant.filter(|tenant| !tenant.is_empty()).unwrap_or(UNATTRIBUTED);
        let session = match session {
            SessionName::Id(id) => ids.object_name_segment(account, id).into_owned(),
            SessionName::Trace([]) => "trace-none".to_owned(),
            SessionName::Trace(trace) => format!("trace-{}", kernel::hex::encode(trace)),
        };
        Self {
            account: account_segment(account),
            tenant: ids.object_name_segment(account, tenant).into_owned(),
            session,
            date: date(day),
        }
    }

    /// The scope of an index line, whose ids are in display form.
    pub fn from_tail(tail: &RowTail) -> Self {
        let session = match (&tail.session_id, &tail.trace_id) {
            _ if tail.kind == Some(RowKind::Quarantine) => QUARANTINE_SESSION.to_owned(),
            (Some(id), _) => id_segment(id),
            (None, trace) => format!("trace-{}", trace.as_deref().unwrap_or("none")),
        };
        let date = tail.ingest_ts.get(..10).unwrap_or_default().to_owned();
        Self { account: account_segment(&tail.account), tenant: id_segment(&tail.tenant), session, date }
    }

    /// `account/tenant/session/date`.
    pub fn path(&self) -> String {
        format!("{}/{}/{}/{}", self.account, self.tenant, self.session, self.date)
    }
}

/// The session, or else the trace, that the records of a fragment share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionName<'a> {
    Id(&'a str),
    /// Trace id of records without a session; empty if they have no trace id either.
    Trace(&'a [u8]),
}

/// Builds object names under one prefix (empty, or ending in `/`).
#[derive(Clone, Debug)]
pub struct ObjectNames {
    prefix: Arc<str>,
    writer: Arc<str>,
    epoch: Arc<str>,
    pub layout: ObjectLayout,
}

impl ObjectNames {
    /// Names of one writer and epoch. `prefix` has no leading or trailing slash.
    pub fn new(prefix: &str, writer: &str, epoch: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { prefix: prefix.into(), writer: writer.into(), epoch: epoch.into(), layout: ObjectLayout::Session }
    }

    /// The same names with another layout.
    #[must_use]
    pub fn with_layout(self, layout: ObjectLayout) -> Self {
        Self { layout, ..self }
    }

    /// The prefix without its trailing slash.
    pub fn prefix(&self) -> &str {
        self.prefix.strip_suffix('/').unwrap_or(&self.prefix)
    }

    pub fn writer(&self) -> &Arc<str> {
        &self.writer
    }

    /// The writer's current epoch.
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// The name prefix of payload objects with fragments of this scope and turn (a segment) that arrived at `at`.
    pub fn object_prefix(&self, scope: &FragmentScope, at: UnixNanos, turn: Option<&str>) -> Arc<str> {
        let prefix = &self.prefix;
        match self.layout {
            ObjectLayout::Session => format!("{prefix}{}/", scope.path()).into(),
            ObjectLayout::Packed => {
                let hour = utc(at).time().hour();
                format!("{prefix}packed/{}/{}/{hour:02}/", scope.account, scope.date).into()
            }
            ObjectLayout::Turn => format!("{prefix}{}/turn_{}.", scope.path(), turn.unwrap_or("none")).into(),
        }
    }

    /// Name of payload object number `n` with a name prefix ([`Self::object_prefix`]). All numbers give names of equal
    /// length.
    pub fn object(&self, object_prefix: &str, n: u64) -> String {
        format!("{object_prefix}{}-{}-{n:010}{}", self.writer, self.epoch, self.layout.suffix())
    }

    pub fn key(&self, scope: &FragmentScope, id: &str) -> String {
        format!("{}keys/{}/{id}{KEY_SUFFIX}", self.prefix, scope.path())
    }

    /// Name of the index object that starts with leaf `first` of an account.
    pub fn index(&self, account: &str, day: &str, first: u64) -> String {
        self.lines("index", account, day, first)
    }

    /// Name of the object with session lines that digest number `n` refers to.
    pub fn sessions(&self, account: &str, day: &str, n: u64) -> String {
        self.lines("sessions", account, day, n)
    }

    fn lines(&self, folder: &str, account: &str, day: &str, n: u64) -> String {
        let (prefix, account) = (&self.prefix, account_segment(account));
        format!("{prefix}{folder}/v1/account={account}/dt={day}/{}-{}-{n:010}.ndjson.zst", self.writer, self.epoch)
    }

    /// Name of digest number `n` of an account.
    pub fn digest(&self, account: &str, n: u64) -> String {
        format!("{}{}", self.prefix, digest_name(&account_segment(account), &self.writer, &self.epoch, n))
    }
}

/// An id in its shown form as a segment of object names.
pub fn id_segment(id: &str) -> String {
    kernel::pseudonym::encode_segment(id).unwrap_or_else(|| id.to_owned())
}

/// Name of digest number `n` without the vault's prefix; `account` is a name segment ([`account_segment`]).
pub fn digest_name(account: &str, writer: &str, epoch: &str, n: u64) -> String {
    format!("chain/{account}/{writer}/{epoch}/{n:010}.json")
}

/// A turn id as part of a file name, without dots.
pub fn turn_segment(ids: &dyn IdPolicy, account: &str, turn: &str) -> String {
    let segment = ids.object_name_segment(account, turn).replace('.', "%2E");
    if segment.len() > MAX_TURN_BYTES { ids.pseudonym(account, turn) } else { segment }
}

/// Whether a name has the form of a payload object's name.
pub fn is_payload(name: &str) -> bool {
    name.ends_with(ObjectLayout::Session.suffix()) || name.ends_with(ObjectLayout::Turn.suffix())
}

#[derive(Clone, PartialEq, Eq)]
pub struct ObjectName {
    /// Prefix with its slash, or empty.
    pub prefix: String,
    pub account: String,
    /// Where its fragments belong. `None` for a packed object: only the index has their scopes.
    pub scope: Option<FragmentScope>,
    /// `{writer}-{epoch}-{number}`.
    pub file: String,
}

impl ObjectName {
    /// Parses the name of a payload object; `None` if the name has another form.
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, suffix) = split_suffix(name)?;
        let mut parts: Vec<&str> = stem.split('/').collect();
        let file = parts.pop()?;
        let file = match suffix == ObjectLayout::Turn.suffix() {
            true => file.strip_prefix("turn_")?.split_once('.')?.1,
            false => file,
        };
        let mut pop_part = || parts.pop().filter(|part| !part.is_empty()).map(str::to_owned);
        let (date, session, tenant, account) = (pop_part()?, pop_part()?, pop_part()?, pop_part()?);
        let prefix = if parts.is_empty() { String::new() } else { format!("{}/", parts.join("/")) };
        let file = file.to_owned();
        if account == "packed" {
            // the four parts are: packed, account, day, hour
            return Some(Self { prefix, account: tenant, scope: None, file });
        }
        let scope = FragmentScope { account: account.clone(), tenant, session, date };
        Some(Self { prefix, account, scope: Some(scope), file })
    }

    pub fn keys(&self, scope: &FragmentScope) -> String {
        format!("{}keys/{}/", self.prefix, scope.path())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexName {
    pub account: String,
    pub writer: String,
    pub epoch: String,
    /// Number of its first line.
    pub first: u64,
}

impl IndexName {
    /// Whether an object of this name may contain the line.
    pub fn may_contain(&self, row: &IndexRow) -> bool {
        let tail = &row.tail;
        account_segment(&tail.account) == self.account && tail.writer == self.writer && row.leaf >= self.first
    }

    /// Parses the name of an index object, without the vault's prefix; `None` if no gateway produces such a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::parse_below("index/v1/account=", name)
    }

    /// Parses the name of an object with session lines; `first` is the number of its digest.
    pub fn parse_sessions(name: &str) -> Option<Self> {
        Self::parse_below("sessions/v1/account=", name)
    }

    fn parse_below(start: &str, name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(start)?.split('/');
        let (account, day, file) = (parts.next()?, parts.next()?.strip_prefix("dt=")?, parts.next()?);
        let (writer, epoch, first) = parse_file_stem(file.strip_suffix(".ndjson.zst")?)?;
        (parts.next().is_none() && !account.is_empty() && is_day(day)).then(|| Self {
            account: account.to_owned(),
            writer: writer.to_owned(),
            epoch: epoch.to_owned(),
            first,
        })
    }
}

/// Writer, epoch and number of `{writer}-{epoch}-{number}`.
pub fn parse_file_stem(stem: &str) -> Option<(&str, &str, u64)> {
    let mut parts = stem.rsplitn(3, '-');
    let (number, epoch, writer) = (parts.next()?, parts.next()?, parts.next()?);
    let n: u64 = number.parse().ok().filter(|n| format!("{n:010}") == number)?;
    (!epoch.is_empty() && !writer.is_empty()).then_some((writer, epoch, n))
}

/// Start of an epoch: the time in its ULID, in milliseconds since 1970. `None` if the text is not a ULID.
pub fn epoch_start_millis(epoch: &str) -> Option<u64> {
    if epoch.len() != 26 {
        return None;
    }
    let digit = |byte: u8| BASE32_DIGITS.iter().position(|digit| *digit == byte).and_then(|at| u64::try_from(at).ok());
    let millis = epoch.bytes().take(10).try_fold(0_u64, |sum, byte| Some((sum << 5) | digit(byte)?))?;
    epoch.bytes().all(|byte| digit(byte).is_some()).then_some(millis)
}

/// A payload object's name without its suffix, and the suffix.
fn split_suffix(name: &str) -> Option<(&str, &'static str)> {
    let suffixes = [ObjectLayout::Session.suffix(), ObjectLayout::Turn.suffix()];
    suffixes.into_iter().find_map(|suffix| Some((name.strip_suffix(suffix)?, suffix)))
}

/// An unpredictable alternative name, in the same folder, for a payload or key object whose own name was taken. A key's
/// alternative has the form of a key copy's name, so that it is found, opened and erased like a copy.
pub fn alternative_name(name: &str, rng: &dyn Rng) -> String {
    let random = rng.id();
    let random = kernel::hex::encode(random.first_chunk::<8>().map_or(&[][..], |bytes| bytes.as_slice()));
    match (split_suffix(name), name.strip_suffix(KEY_SUFFIX)) {
        (Some((stem, suffix)), _) => format!("{stem}.{random}{suffix}"),
        (None, Some(stem)) => format!("{stem}-{random}{KEY_SUFFIX}"),
        (None, None) => format!("{name}.{random}"),
    }
}

/// Whether `other` is an alternative name that [`alternative_name`] produced for `name`.
pub fn is_alternative_name(name: &str, other: &str) -> bool {
    let stem = split_suffix(name).map_or(name, |(stem, _)| stem);
    other != name && other.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.') && !rest.contains('/'))
}

/// The day of arrival in the name of a payload, index or key object, without the vault's prefix. `None` for other
/// objects, which do not expire.
pub fn arrival_day(name: &str) -> Option<&str> {
    let parts: Vec<&str> = name.split('/').collect();
    let day = match parts[..] {
        ["index", "v1", _, day, _] => day.strip_prefix("dt=")?,
        ["keys", _, _, _, day, file] if file.ends_with(KEY_SUFFIX) => day,
        ["packed", _, day, _, file] | [_, _, _, day, file] if is_payload(file) => day,
        _ => return None,
    };
    is_day(day).then_some(day)
}

/// A time in RFC 3339, of any zone; `None` also before 1970.
pub fn parse_time(text: &str) -> Option<UnixNanos> {
    let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanos).ok().map(UnixNanos)
}

/// Whether a text has the form `2026-11-20`.
fn is_day(day: &str) -> bool {
    day.len() == 10 && day.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

/// A new epoch as a ULID: 48 bits of milliseconds and 80 random bits in Crockford's base 32, sortable by time.
pub fn new_epoch(now: UnixNanos, rng: &dyn Rng) -> String {
    let random = u128::from_le_bytes(rng.id()) >> 48;
    let value = (u128::from(now.0 / 1_000_000) << 80) | random;
    (0..26)
        .rev()
        .map(|digit| {
            let index = usize::try_from((value >> (5 * digit)) & 31).unwrap_or(0);
            char::from(BASE32_DIGITS.get(index).copied().unwrap_or(b'0'))
        })
        .collect()
}

/// Whether object names can hold a text as it is.
pub fn is_plain_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
