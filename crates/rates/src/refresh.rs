//! Replaces the tables while calls are priced: [`Shelf`] holds the tables in use, [`Pin`] is the required digest or
//! signature of a new one, and [`Refresher`] decides whether it is used.
//! Tables are replaced by exchanging one pointer, so a call in progress keeps the table it started with. A table that
//! fails its pin, validation or a comparison changes nothing. `app` fetches files.

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
    /// Time at which the tables were last confirmed to be the newest, Unix ns; 0 = unknown.
    confirmed: AtomicU64,
}

impl Shelf {
    /// Starts with the first tables.
    pub fn new(rates: Rates) -> Self {
        Self { rates: RwLock::new(Arc::new(rates)), confirmed: AtomicU64::new(0) }
    }

    /// The current tables.
    pub fn rates(&self) -> Arc<Rates> {
        Arc::clone(&self.rates.read())
    }

    /// Replaces the tables; returns the old ones.
    pub fn swap(&self, rates: Rates) -> Arc<Rates> {
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
pub enum Pin {
    /// None: only the operator writes the file.
    None,
    /// The file's SHA-256, hexadecimal.
    Sha256(String),
    /// A detached Ed25519 signature by this key, next to the file (`.sig`: 64 bytes, or their base64).
    Ed25519([u8; 32]),
}

impl Pin {
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

/// A new table that was accepted.
pub struct Taken {
    /// The tables, ready for use.
    pub rates: Rates,
    /// The differences from the previous table.
    pub findings: Vec<Finding>,
    /// `provider/model` of entries that the new table lacks and that were kept.
    pub kept: Vec<String>,
}

/// The outcome of [`Refresher::offer`].
pub enum Offer {
    /// The file is the one in use.
    Same,
    /// The table was accepted.
    Taken(Box<Taken>),
}

/// Compares new tables with the last accepted one.
pub struct Refresher {
    base: Source,
    /// Digest of the file that was accepted last.
    last: String,
    overlays: Vec<Source>,
    accept: Vec<String>,
}

impl Refresher {
    /// Starts with the table in use.
    pub fn new(base: Source, overlays: Vec<Source>, accept: Vec<String>) -> Self {
        Self { last: base.digest.clone(), base, overlays, accept }
    }

    /// Parses, validates and compares a new table; its pin must have been checked.
    ///
    /// # Errors
    /// Why the table is refused, one reason per line.
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

    /// The table that was accepted last.
    pub fn base(&self) -> &Source {
        &self.base
    }
}
