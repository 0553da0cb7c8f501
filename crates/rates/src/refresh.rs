//! Replaces the tables while calls are priced: [`ActiveRates`] holds the tables in use, [`TablePin`] is the required
//! digest or signature of a new one, and [`TableRefresher`] decides whether it is used. Tables are replaced by
//! exchanging one pointer, so a call in progress keeps the table it started with. A table that fails its pin,
//! validation or a comparison changes nothing. `processors/cost/refresh` fetches files.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;

use kernel::hex;
use kernel::sha256::Sha256;

use super::guard::{FindingSeverity, TableFinding};
use super::overlay::RateTables;
use super::schema::{ModelSpec, ProviderSpec};
use super::source::{TableSource, digest_text};
use super::table::RatesError;

/// The tables in use.
pub struct ActiveRates {
    rates: RwLock<Arc<RateTables>>,
    /// Time at which the tables were last confirmed to be the newest, Unix ns; 0 = unknown.
    confirmed: AtomicU64,
}

impl ActiveRates {
    /// Starts with the first tables.
    pub fn new(rates: RateTables) -> Self {
        Self { rates: RwLock::new(Arc::new(rates)), confirmed: AtomicU64::new(0) }
    }

    pub fn rates(&self) -> Arc<RateTables> {
        Arc::clone(&self.rates.read())
    }

    /// Replaces the tables; returns the old ones.
    pub fn swap(&self, rates: RateTables) -> Arc<RateTables> {
        std::mem::replace(&mut self.rates.write(), Arc::new(rates))
    }

    /// Records that the tables are the newest at `now` (Unix ns).
    pub fn confirm(&self, now: u64) {
        self.confirmed.store(now, Ordering::Relaxed);
    }

    /// When the tables were last confirmed to be the newest, Unix ns. If that is unknown, `now` is recorded and
    /// returned.
    pub fn confirmed(&self, now: u64) -> u64 {
        match self.confirmed.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(known) => known,
        }
    }
}

/// The required proof of a new table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TablePin {
    /// None: only the operator writes the file.
    None,
    /// The file's SHA-256, hexadecimal.
    Sha256(String),
    /// A detached Ed25519 signature by this key, next to the file (`.sig`: 64 bytes, or their base64).
    Ed25519([u8; 32]),
}

impl TablePin {
    /// Parses a digest of 64 hexadecimal digits.
    pub fn sha256(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(Self::Sha256(text))
    }

    /// Parses a public key in base64 (32 bytes).
    pub fn ed25519(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self::Ed25519)
    }

    /// Whether the table needs a signature file.
    pub fn is_signed(&self) -> bool {
        matches!(self, Self::Ed25519(_))
    }

    /// Verifies the bytes of a table.
    ///
    /// # Errors
    /// The reason why they do not match.
    pub fn check(&self, bytes: &[u8], signature: Option<&[u8]>) -> Result<(), &'static str> {
        match self {
            Self::None => Ok(()),
            Self::Sha256(wanted) if hex::encode(&Sha256::digest(bytes)) == *wanted => Ok(()),
            Self::Sha256(_) => Err("its SHA-256 does not match the pinned one"),
            Self::Ed25519(key) => {
                let signature = signature.ok_or("its signature is missing")?;
                let text = std::str::from_utf8(signature).ok().filter(|_| signature.len() != 64);
                let decoded = text.and_then(|text| STANDARD.decode(text.trim()).ok());
                let signature = decoded.as_deref().unwrap_or(signature);
                UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).map_err(|_| "its signature is invalid")
            }
        }
    }
}

pub struct AcceptedTable {
    /// The tables, ready for use.
    pub rates: RateTables,
    /// The differences from the previous table.
    pub findings: Vec<TableFinding>,
    /// `provider/model` of entries that the new table lacks and that were kept.
    pub kept_models: Vec<String>,
}

/// Compares new tables with the last accepted one.
pub struct TableRefresher {
    base: TableSource,
    /// Digest of the file that was accepted last.
    last_digest: String,
    overlays: Vec<TableSource>,
    /// Places whose refusals are accepted, as in [`TableSource::diff`].
    accepted_places: Vec<String>,
}

impl TableRefresher {
    /// Starts with the table in use.
    pub fn new(base: TableSource, overlays: Vec<TableSource>, accepted_places: Vec<String>) -> Self {
        Self { last_digest: base.digest.clone(), base, overlays, accepted_places }
    }

    /// Parses, validates and compares a new table; its pin must have been checked. `None`: the file is the one in use.
    ///
    /// # Errors
    /// Why the table is refused, one reason per line.
    pub fn offer_table(&mut self, name: &str, text: &str) -> Result<Option<AcceptedTable>, RatesError> {
        let digest = digest_text(text);
        if digest == self.last_digest {
            return Ok(None);
        }
        let mut new = TableSource::parse(name, text)?;
        let findings = self.base.diff(&new, &self.accepted_places)?;
        let refused = findings.iter().filter(|finding| finding.severity == FindingSeverity::Refusal);
        let refused: Vec<String> =
            refused.map(|finding| format!("{name}: {}: {}", finding.place, finding.description)).collect();
        if !refused.is_empty() {
            return Err(RatesError(refused.join("\n")));
        }
        let kept_models = new.keep_vanished(&self.base);
        let rates = RateTables::build(&new, &self.overlays)?;
        (self.base, self.last_digest) = (new, digest);
        Ok(Some(AcceptedTable { rates, findings, kept_models }))
    }

    /// The table that was accepted last.
    pub fn base(&self) -> &TableSource {
        &self.base
    }
}

impl TableSource {
    /// Adds the models that `old` lists and this table does not; returns the `provider/model` of each. If any were
    /// added, the digest is derived from both files.
    pub(super) fn keep_vanished(&mut self, old: &Self) -> Vec<String> {
        let mut kept = Vec::new();
        for (key, before) in &old.file.providers {
            let Some(file) = self.file.whole_mut() else { break };
            let empty = || ProviderSpec { models: Vec::new(), ..before.clone() };
            let now = file.providers.entry(key.clone()).or_insert_with(empty);
            let mut taken: HashSet<String> = now.models.iter().flat_map(ModelSpec::exact_ids).cloned().collect();
            let canonical: HashSet<String> = now.models.iter().map(|model| model.id.clone()).collect();
            for model in &before.models {
                if taken.contains(&model.id) || canonical.contains(&model.id) {
                    continue;
                }
                let ids: Vec<String> =
                    model.exact_ids().iter().filter(|id| taken.insert((*id).clone())).cloned().collect();
                if !ids.is_empty() || !model.patterns.is_empty() {
                    kept.push(format!("{key}/{}", model.id));
                    now.models.push(ModelSpec { ids, ..model.clone() });
                }
            }
        }
        if !kept.is_empty() {
            self.digest = digest_text(&format!("{}{}", self.digest, old.digest));
            self.text = None;
        }
        kept
    }
}
