//! **What**: the auditor's side: opens fragments with the auditors' keys ([`Vault`], [`Opener`]), `vault get`,
//! `vault replay`, `find`, `diff`, `export`.
//! **Why**: evidence must be readable without the gateway; whatever is here can be done with stock tools as well.
//! **Invariants**: reads only; sizes are bounded; a fragment that does not belong where it lies is an error; control
//! characters never reach a terminal. **Not here**: proofs, erasure (`vault/erase`).

mod agents;
mod aside;
mod chat;
mod find;
mod fragments;
mod get;
mod hidden;
mod index;
mod inside;
mod keys;
mod lines;
mod links;
mod messages;
mod replay;
mod report;
mod text;
mod tree;
mod turns;
mod whole;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use zeroize::Zeroizing;

use kernel::clock::UnixNanos;
use kernel::pseudonym::PREFIX;

use vault::document::{Document, Head};
use vault::names::{ObjectName, SIGNATURE, Scope, UNATTRIBUTED, account_segment};
use vault::store::settings::S3Settings;
use vault::store::{DirectoryStore, Held, ObjectKind, S3Store, StoreError, VaultReader, Version, VersionPage};

pub(super) use aside::{Fetched, Hashes};
pub(super) use find::day_before;
pub use find::{Found, Query, find, find_in, find_in_signed, find_signed, shown};
pub use get::{Leaf, Lines, Wanted, get, get_lines};
pub use hidden::Finds;
pub use index::{Missed, each_row, each_row_of, each_signed_row, each_unsigned_row};
pub(super) use index::{inflate as inflate_index, unpack as unpack_index};
pub(super) use inside::Inside;
pub(super) use keys::open_key;
pub use keys::{BadKey, Shut};
pub use replay::{Content, Filter, Replay, Total, replay};
pub use tree::{Call, TurnOf};
pub use turns::{Format, Turn};

/// Largest identity file, bytes.
const MAX_IDENTITY_FILE: u64 = 1 << 20;
/// Largest digest, bytes: a gateway's names the objects of 4 MiB of lines.
const MAX_DIGEST: u64 = 16 << 20;
/// Largest signature, bytes: a gateway's has 64.
const MAX_SIGNATURE: u64 = 4 << 10;
/// Largest plaintext of a fragment, bytes; a request of 64 MiB gives at most about 140 MiB.
const MAX_PLAIN: usize = 256 << 20;

/// What lies at a line's place is something else.
const NOT_MEANT: &str = "what stands there is not what the index line means";

/// What went wrong, in one line.
pub type ReadError = String;

/// Several accounts have what was asked for: lines are numbered, and sessions named, by account.
pub(super) fn whose<A: AsRef<str>>(what: &str, accounts: impl IntoIterator<Item = A>) -> ReadError {
    let accounts: Vec<String> = accounts.into_iter().map(|account| account.as_ref().to_owned()).collect();
    format!("{what}: {} accounts have such lines; give --account: {}", accounts.len(), accounts.join(", "))
}

/// Where a vault is.
#[derive(Clone, Debug, Default)]
pub struct Location {
    /// A folder, or `s3://bucket/prefix`.
    pub store: String,
    /// `s3://bucket` of the key objects, if it is another one.
    pub keys: Option<String>,
    /// Region; default: the environment's.
    pub region: Option<String>,
    /// Address of a store that is not AWS; default: the environment's.
    pub endpoint: Option<String>,
    /// `endpoint/bucket/key`.
    pub force_path_style: bool,
    /// PEM certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// The first version of each object is read, not the newest; only where there are versions.
    pub oldest: bool,
}

/// A location that was understood.
pub(super) enum Site {
    /// A folder.
    Folder(PathBuf),
    /// Buckets, without a lock for what is written, and the start of all names.
    S3 { settings: Box<S3Settings>, prefix: String },
}

impl Location {
    /// What it says.
    ///
    /// # Errors
    /// When it says nothing that can be.
    pub(super) fn site(&self) -> Result<Site, ReadError> {
        let Some(rest) = self.store.strip_prefix("s3://") else {
            if self.store.is_empty() {
                return Err("give --store: a folder, or s3://bucket/prefix".to_owned());
            }
            let folder = self.store.strip_prefix("file://").unwrap_or(&self.store);
            if !Path::new(folder).is_dir() {
                return Err(format!("{folder} is not a folder"));
            }
            return Ok(Site::Folder(folder.into()));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let keys = self.keys.as_deref().map_or(bucket, |keys| {
            let keys = keys.strip_prefix("s3://").unwrap_or(keys);
            keys.split_once('/').map_or(keys, |(bucket, _)| bucket)
        });
        if bucket.is_empty() || keys.is_empty() {
            return Err("the bucket's name is missing".to_owned());
        }
        let settings = S3Settings {
            bucket: bucket.to_owned(),
            key_bucket: keys.to_owned(),
            prefix: String::new(),
            region: self.region.clone().unwrap_or_default(),
            endpoint: self.endpoint.clone(),
            force_path_style: self.force_path_style,
            lock: None,
            ca_file: self.ca_file.clone(),
        };
        Ok(Site::S3 { settings: Box::new(settings), prefix: prefix.to_owned() })
    }
}

/// A vault to read from.
pub struct Vault {
    reader: Arc<dyn VaultReader>,
    /// Start of all names; empty, or ends in `/`.
    prefix: String,
    /// Bucket, for references; `None` for a folder.
    bucket: Option<String>,
}

impl Vault {
    /// A vault over any reader.
    pub fn new(reader: Arc<dyn VaultReader>, prefix: &str, bucket: Option<String>) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { reader, prefix, bucket }
    }

    /// The vault at `location`. No I/O yet.
    ///
    /// # Errors
    /// When the location is none.
    pub fn at(location: &Location) -> Result<Self, ReadError> {
        Ok(match location.site()? {
            Site::Folder(_) if location.oldest => return Err("--oldest: a folder has no versions".to_owned()),
            Site::Folder(folder) => Self::new(Arc::new(DirectoryStore::new(folder)), "", None),
            Site::S3 { settings, prefix } => {
                let bucket = settings.bucket.clone();
                Self::new(Arc::new(S3Store::new(*settings).oldest(location.oldest)), &prefix, Some(bucket))
            }
        })
    }

    /// The object's name in a reference: `s3://bucket/name`, `file:///name`, or the name.
    ///
    /// # Errors
    /// When it is in another bucket.
    pub fn name<'a>(&self, reference: &'a str) -> Result<&'a str, ReadError> {
        if let Some(name) = reference.strip_prefix("file://") {
            return Ok(name.trim_start_matches('/'));
        }
        let Some(rest) = reference.strip_prefix("s3://") else { return Ok(reference.trim_start_matches('/')) };
        let (bucket, name) = rest.split_once('/').ok_or("the reference names no object")?;
        match &self.bucket {
            Some(ours) if ours == bucket => Ok(name),
            Some(ours) => Err(format!("the reference is to the bucket {bucket}, the store is {ours}")),
            None => Err("the reference is to S3, the store is a folder".to_owned()),
        }
    }

    /// A name as it stands in the store, from one without the prefix.
    pub(super) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A name without the prefix.
    pub(super) fn relative<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&self.prefix)
    }

    /// The start of all names, without its slash.
    pub(super) fn prefix(&self) -> &str {
        self.prefix.strip_suffix('/').unwrap_or(&self.prefix)
    }

    /// A digest or a signature; no more than one can have.
    pub(super) async fn chain_object(&self, name: &str) -> Result<Bytes, StoreError> {
        let most = if name.ends_with(SIGNATURE) { MAX_SIGNATURE } else { MAX_DIGEST };
        let bytes = self.reader.get(ObjectKind::Chain, name, Some((0, most + 1))).await?;
        if bytes.len() as u64 > most { Err(StoreError::TooLarge) } else { Ok(bytes) }
    }

    /// As [`Self::chain_object`], with what was wrong in words.
    pub(super) async fn fetch_chain(&self, name: &str) -> Result<Bytes, ReadError> {
        self.chain_object(name).await.map_err(|error| match error {
            StoreError::Missing => format!("{name}: no such object"),
            error => format!("{name}: {error}"),
        })
    }

    /// As [`Self::fetch`] of a whole object, for who must know why it failed.
    pub(super) async fn try_fetch(&self, kind: ObjectKind, name: &str) -> Result<Bytes, StoreError> {
        self.reader.get(kind, name, None).await
    }

    /// When an object was written, by the store's clock; `None`: it does not tell, or the object is not there any more.
    pub(super) async fn written(&self, kind: ObjectKind, name: &str) -> Option<UnixNanos> {
        self.reader.written(kind, name).await.ok().flatten()
    }

    /// A page of the versions of names below `prefix`; `None`: the store has no versions.
    pub(super) async fn versions(
        &self,
        kind: ObjectKind,
        prefix: &str,
        after: Option<(String, String)>,
    ) -> Result<Option<VersionPage>, ReadError> {
        self.reader.versions(kind, &self.full(prefix), after).await.map_err(|error| error.to_string())
    }

    /// How a version is locked; `None`: the store can't lock.
    pub(super) async fn held(&self, kind: ObjectKind, version: &Version) -> Result<Option<Held>, ReadError> {
        self.reader.held(kind, version).await.map_err(|error| format!("{}: {error}", version.name))
    }

    pub(super) async fn fetch(
        &self,
        kind: ObjectKind,
        name: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Bytes, ReadError> {
        self.reader.get(kind, name, range).await.map_err(|error| match error {
            StoreError::Missing => format!("{name}: no such object"),
            error => format!("{name}: {error}"),
        })
    }

    pub(super) async fn list(&self, kind: ObjectKind, prefix: &str) -> Result<Vec<String>, ReadError> {
        let name = format!("{}{prefix}", self.prefix);
        self.reader.list(kind, &name).await.map_err(|error| format!("{name}: {error}"))
    }
}

/// The secret keys in files as `age-keygen` and [`vault::keygen::keygen`] write them.
///
/// # Errors
/// When a file can't be read or holds none; never with its contents.
pub fn identities(paths: &[PathBuf]) -> Result<Vec<age::x25519::Identity>, ReadError> {
    let mut found = Vec::new();
    for path in paths {
        let say = |error| format!("the identity file {} can't be read: {error}", path.display());
        let mut text = Zeroizing::new(String::new());
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_IDENTITY_FILE).read_to_string(&mut text))
            .map_err(say)?;
        found.extend(identities_in(path, &text)?);
    }
    if found.is_empty() {
        return Err("give --identity: the file with an auditor's secret key".to_owned());
    }
    Ok(found)
}

/// The secret keys in what such a file holds.
///
/// # Errors
/// There is none, or something else; never with the contents.
pub fn identities_in(path: &Path, text: &str) -> Result<Vec<age::x25519::Identity>, ReadError> {
    let say = |what: &str| format!("the identity file {} {what}", path.display());
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(|line| line.parse().map_err(|_| say("has a line that is no `AGE-SECRET-KEY-1…`")));
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() { Err(say("holds no key")) } else { Ok(keys) }
}

/// Ranges of an object's fragments (first byte, length) as the index tells, with where they belong.
pub type Places = BTreeMap<(u64, u64), Scope>;

/// Opens fragments; keeps the session keys it has opened.
pub struct Opener<'a> {
    vault: &'a Vault,
    auditors: Vec<age::x25519::Identity>,
    /// By the folder of the key objects.
    sessions: HashMap<String, Result<Vec<age::x25519::Identity>, Shut>>,
    /// Among the key objects, and none.
    bad: Vec<BadKey>,
    moved: Vec<String>,
}

impl<'a> Opener<'a> {
    /// An opener with these auditors' keys.
    pub fn new(vault: &'a Vault, auditors: Vec<age::x25519::Identity>) -> Self {
        Self { vault, auditors, sessions: HashMap::new(), bad: Vec::new(), moved: Vec::new() }
    }

    /// The fragments in `bytes` of the object `name`, each opened or the reason why not: one that is damaged hides no
    /// other. `room` is how much content may be taken into memory, bytes decompressed; what is taken is taken from it.
    /// `known` are ranges (first byte, length) of fragments as the index tells; the rest is found by first lines.
    ///
    /// # Errors
    /// When nothing of the object can be opened: the name, or the keys.
    pub async fn documents(
        &mut self,
        name: &str,
        bytes: &Bytes,
        known: &Places,
        room: &mut u64,
    ) -> Result<Vec<Result<Opened, Shut>>, Shut> {
        let object = ObjectName::parse(name).ok_or_else(|| Shut::Other(format!("{name} is not a payload object")))?;
        if let Some(scope) = &object.scope {
            self.session_keys(&object.keys(scope)).await?;
        }
        let (found, outside) = fragments::cut(bytes, &known.keys().copied().collect());
        let mut stored = Vec::with_capacity(found.len());
        for (offset, fragment) in &found {
            let told = || known.range((*offset, 0)..=(*offset, u64::MAX)).next().map(|(_, scope)| scope);
            let plain = match object.scope.as_ref().or_else(told) {
                None => Err(Shut::Untold("the index does not tell, or not yet, whose it is".to_owned(), *offset)),
                Some(scope) => match self.session_keys(&object.keys(scope)).await {
                    Ok(keys) => open_fragment(&object.file, scope, fragment, keys, *room),
                    Err(why) => Err(why),
                },
            };
            *room = room.saturating_sub(plain.as_ref().map_or(0, |plain| plain.len() as u64));
            stored.push((*offset, plain.map_err(|why| why.at(name, *offset))));
        }
        let scopes = object.scope.iter().chain(known.values()).collect();
        let mut out = self.whole(name, &object, &scopes, stored, room).await?;
        let outside =
            outside.iter().map(|at| Shut::Other("the index points outside of the object".to_owned()).at(name, *at));
        out.extend(outside.map(Err));
        if out.is_empty() { Err(Shut::Other(format!("{name}: no fragment in these bytes"))) } else { Ok(out) }
    }
}

/// A fragment that was opened.
pub struct Opened {
    /// Where it starts in the bytes given.
    pub offset: u64,
    /// What it says.
    pub document: Document,
    /// The same as JSON: the bytes that were sealed, with content made whole where it referred to earlier content.
    pub plain: Vec<u8>,
}

/// Opens one fragment and holds it against the place where it lies.
fn open_fragment(
    file: &str,
    scope: &Scope,
    sealed: &[u8],
    keys: &[age::x25519::Identity],
    room: u64,
) -> Result<Vec<u8>, Shut> {
    let plain = match unseal(sealed, keys, room) {
        Err(Shut::Other(why)) => without_hole(sealed, keys, room).ok_or(Shut::Other(why))?,
        other => other?,
    };
    let document: Place = serde_json::from_slice(&plain).map_err(|_| Shut::Other(NO_DOCUMENT.to_owned()))?;
    let ours = file.starts_with(&format!("{}-{}-", document.head.writer, document.head.epoch));
    if !ours || !belongs(&document, scope) {
        return Err(Shut::Other("the fragment belongs to another object".to_owned()));
    }
    Ok(plain)
}

const NO_DOCUMENT: &str = "the fragment is not a document of the vault";

/// What a document says of where it belongs.
#[derive(Deserialize)]
struct Place {
    #[serde(flatten)]
    head: Head<'static>,
    items: Vec<Traced>,
}

#[derive(Deserialize)]
struct Traced {
    trace_id: Option<String>,
}

/// A fragment that was lost leaves zeros in its object; without the index they seem to be the end of the one before.
fn without_hole(sealed: &[u8], keys: &[age::x25519::Identity], room: u64) -> Option<Vec<u8>> {
    let end = sealed.len() - sealed.iter().rev().take_while(|byte| **byte == 0).count();
    let hole = sealed.len() - end;
    // a fragment may end in zeros of its own
    (0..hole.min(4)).find_map(|own| unseal(sealed.get(..end + own)?, keys, room).ok())
}

/// Whether what the document says of itself is what its name says. A private id stands in the name as its pseudonym,
/// which nobody without the gateway's key can compare.
fn belongs(document: &Place, scope: &Scope) -> bool {
    let head: &Head<'_> = &document.head;
    let same = |id: &str, segment: &str| {
        segment.starts_with(PREFIX) || kernel::pseudonym::segment(id).as_deref().unwrap_or(id) == segment
    };
    let tenant = if head.tenant.is_empty() { UNATTRIBUTED } else { &head.tenant };
    let session = match (&head.session, document.items.first().and_then(|item| item.trace_id.as_deref())) {
        (Some(id), _) => same(id, &scope.session),
        (None, Some(trace)) => scope.session.strip_prefix("trace-") == Some(trace),
        (None, None) => scope.session.starts_with("trace-"),
    };
    session
        && account_segment(&head.account) == scope.account
        && same(tenant, &scope.tenant)
        && head.received.starts_with(&scope.date)
}

fn decrypt<'a>(sealed: &'a [u8], keys: &[age::x25519::Identity]) -> Option<impl Read + use<'a>> {
    let decryptor = age::Decryptor::new_buffered(sealed).ok()?;
    decryptor.decrypt(keys.iter().map(|key| key as &dyn age::Identity)).ok()
}

fn unseal(sealed: &[u8], keys: &[age::x25519::Identity], room: u64) -> Result<Vec<u8>, Shut> {
    const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    let damaged = |_| Shut::Other("the fragment is damaged or cut off".to_owned());
    let none = || Shut::Other("no session key opens the fragment".to_owned());
    let mut reader = BufReader::new(decrypt(sealed, keys).ok_or_else(none)?);
    let begins = reader.fill_buf().map_err(damaged)?;
    let decoder: Box<dyn Read> = match begins.starts_with(MAGIC) {
        true => Box::new(zstd::Decoder::with_buffer(reader).map_err(damaged)?),
        false => Box::new(reader), // of an object of one turn
    };
    let (mut plain, most) = (Vec::new(), room.min(MAX_PLAIN as u64));
    decoder.take(most + 1).read_to_end(&mut plain).map_err(damaged)?;
    match plain.len() as u64 {
        len if len <= most => Ok(plain),
        len if len <= MAX_PLAIN as u64 => Err(Shut::NoRoom),
        _ => Err(Shut::Other("the fragment is too large".to_owned())),
    }
}
