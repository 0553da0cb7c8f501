//! **What**: a table that is exchanged while calls are priced: [`Shelf`], what a new one must be signed with ([`Pin`]),
//! and whether it is taken ([`Refresher`]). **Invariants**: one exchange of one pointer, whoever prices keeps the table
//! it began with; what fails a digest, a signature, a check or a guard changes nothing. **Not here**: fetching (`app`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::RwLock;
use sha2::{Digest, Sha256};

use kernel::hex;

use super::finding::{Finding, Gravity};
use super::overlay::Rates;
use super::source::{Source, digest};
use super::table::RatesError;

/// The tables in use.
pub struct Shelf {
    rates: RwLock<Arc<Rates>>,
    /// Unix ns of the last time that they were known to be the newest; 0 = not known.
    confirmed: AtomicU64,
}

impl Shelf {
    /// With its first tables.
    pub fn new(rates: Rates) -> Self {
        Self { rates: RwLock::new(Arc::new(rates)), confirmed: AtomicU64::new(0) }
    }

    /// The tables of now.
    pub fn rates(&self) -> Arc<Rates> {
        Arc::clone(&self.rates.read())
    }

    /// Puts others in their place; gives the old ones.
    pub fn swap(&self, rates: Rates) -> Arc<Rates> {
        std::mem::replace(&mut self.rates.write(), Arc::new(rates))
    }

    /// The tables are the newest at `now` (Unix ns).
    pub fn confirm(&self, now: u64) {
        self.confirmed.store(now, Ordering::Relaxed);
    }

    /// When the tables were last known to be the newest, Unix ns; `now` from the first time somebody asks.
    pub fn confirmed(&self, now: u64) -> u64 {
        match self.confirmed.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => now,
            Err(known) => known,
        }
    }
}

/// What a new table must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Nothing: a file that only the operator writes.
    None,
    /// Its SHA-256, hexadecimal.
    Sha256(String),
    /// A detached Ed25519 signature beside it (`.sig`: 64 bytes, or their base64) by this key.
    Ed25519([u8; 32]),
}

impl Pin {
    /// A digest as 64 hexadecimal digits.
    pub fn sha256(text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(Self::Sha256(text))
    }

    /// A public key in base64 (32 bytes).
    pub fn ed25519(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self::Ed25519)
    }

    /// Whether it needs the signature beside the table.
    pub fn is_signed(&self) -> bool {
        matches!(self, Self::Ed25519(_))
    }

    /// Whether these bytes are what was pinned.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, bytes: &[u8], signature: Option<&[u8]>) -> Result<(), &'static str> {
        match self {
            Self::None => Ok(()),
            Self::Sha256(wanted) if hex::encode(&Sha256::digest(bytes)) == *wanted => Ok(()),
            Self::Sha256(_) => Err("its SHA-256 is not the one that is pinned"),
            Self::Ed25519(key) => {
                let signature = signature.ok_or("its signature is missing")?;
                let text = std::str::from_utf8(signature).ok().filter(|_| signature.len() != 64);
                let decoded = text.and_then(|text| STANDARD.decode(text.trim()).ok());
                let signature = decoded.as_deref().unwrap_or(signature);
                UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).map_err(|_| "its signature is not good")
            }
        }
    }
}

/// A new table that was taken.
pub struct Taken {
    /// Ready for use.
    pub rates: Rates,
    /// What changed.
    pub findings: Vec<Finding>,
    /// `provider/model` of entries that the new table lost and that were kept.
    pub kept: Vec<String>,
}

/// What became of an offer.
pub enum Offer {
    /// The very file in use.
    Same,
    /// Taken.
    Taken(Box<Taken>),
}

/// Judges new tables by the last good one.
pub struct Refresher {
    base: Source,
    /// Digest of the file that was last taken.
    last: String,
    overlays: Vec<Source>,
    accept: Vec<String>,
}

impl Refresher {
    /// Begins with the table in use.
    pub fn new(base: Source, overlays: Vec<Source>, accept: Vec<String>) -> Self {
        Self { last: base.digest.clone(), base, overlays, accept }
    }

    /// Reads, checks and judges a new table, whose pin was checked.
    ///
    /// # Errors
    /// Why it is not taken, one thing a line.
    pub fn offer(&mut self, name: &str, text: &str) -> Result<Offer, RatesError> {
        let seen = digest(text);
        if seen == self.last {
            return Ok(Offer::Same);
        }
        let mut new = Source::parse(name, text)?;
        new.compile()?;
        if new.is_older_than(&self.base) {
            return Err(RatesError(format!(
                "{name}: version {} goes back behind {}",
                new.version(),
                self.base.version()
            )));
        }
        let findings = self.base.diff(&new, &self.accept);
        let refused = findings.iter().filter(|finding| finding.gravity == Gravity::Refusal);
        let refused: Vec<String> =
            refused.map(|finding| format!("{name}: {}: {}", finding.place, finding.what)).collect();
        if !refused.is_empty() {
            return Err(RatesError(refused.join("\n")));
        }
        let kept = new.keep_vanished(&self.base);
        let rates = Rates::build(&new, &self.overlays)?;
        (self.base, self.last) = (new, seen);
        Ok(Offer::Taken(Box::new(Taken { rates, findings, kept })))
    }

    /// The last good table.
    pub fn base(&self) -> &Source {
        &self.base
    }
}
