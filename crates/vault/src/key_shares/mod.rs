//! Key objects that several people open together: a session's secret, split so that a threshold of shares gives it
//! (Shamir's scheme over the field of AES, GF(2^8) with the polynomial 0x11b, for each byte of the secret's text).
//!
//! The object is JSON ([`ShareEnvelope`]) with an age file for each recipient, so that stock `age` opens each share. A
//! sealed share says to which split, folder and public key it belongs. So shares of two splits are never mixed, a share
//! that was copied into another session's folder is recognised, and a wrong share gives an error, never another key.
//! Neighbour: `seal` chooses between this form and one age file.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Read as _;

use age::secrecy::ExposeSecret as _;
use age::x25519::{Identity, Recipient};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use kernel::rng::{Rng as _, SystemRng};
use kernel::secret::Secret;

use super::age_file::{SealFailed, append_age_file, key_id};

/// Most recipients of which some are needed together.
pub const MAX_SHARES: usize = 16;
/// Least number of recipients that can be needed together.
pub const MIN_THRESHOLD: u8 = 2;
/// Largest text of a share, bytes; three names of 255 bytes are in it.
const MAX_SHARE_TEXT: u64 = 4096;
const VERSION: u8 = 1;
/// Most selections of shares that are tried to find one without a wrong share: those of 8 of [`MAX_SHARES`].
const MAX_SELECTIONS: u32 = 12_870;

/// Whether this many of this many recipients can be needed together.
pub fn is_valid_threshold(threshold: usize, of: usize) -> bool {
    (usize::from(MIN_THRESHOLD)..=of).contains(&threshold) && of <= MAX_SHARES
}

/// How a key is shared.
pub(crate) struct ShareTerms<'a> {
    /// How many recipients are needed together.
    pub threshold: u8,
    /// Path of the key's folder below `keys/`: `account/tenant/session/day`.
    pub place: &'a str,
}

/// A key object that several people open together.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareEnvelope {
    v: u8,
    pub key_id: String,
    /// Random name of this split: shares of another one don't fit.
    pub set: String,
    /// How many shares are needed.
    pub threshold: u8,
    /// How many shares there are.
    pub of: u8,
    shares: Vec<SealedShare>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedShare {
    /// Position, from 1.
    x: u8,
    /// An age file with a [`KeyShare`], base64.
    age: String,
}

/// An opened share of a session's key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyShare {
    v: u8,
    /// Random name of the split.
    pub set: String,
    /// Path of the key's folder below `keys/`: `account/tenant/session/day`.
    pub place: String,
    pub public: String,
    /// How many shares are needed.
    pub threshold: u8,
    /// How many shares there are.
    pub of: u8,
    /// Position, from 1.
    pub x: u8,
    /// Values of the polynomials at `x`, base64.
    #[serde(serialize_with = "expose_value")]
    y: Secret,
}

fn expose_value<S: Serializer>(value: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.expose())
}

/// Why shares don't give a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineFailure {
    /// More shares are needed.
    #[error("{have} of the {threshold} shares that its key needs")]
    TooFew {
        /// Number of different shares.
        have: usize,
        /// Number of shares that are needed.
        threshold: u8,
    },
    /// The shares belong to several keys or splits, or contradict each other.
    #[error("the shares do not belong together")]
    Mixed,
    /// No selection of the shares gives the secret that they name.
    #[error("a share is wrong: no selection of them gives the key that they name")]
    Wrong,
}

/// Randomness of the operating system for the library that splits.
struct SystemRandomness;

impl rand_core::TryRng for SystemRandomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        SystemRng.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        SystemRng.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        SystemRng.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for SystemRandomness {}

/// Builds a key object with a share for each of `recipients`.
///
/// # Errors
/// The threshold is not valid for this number of different recipients.
pub(crate) fn seal_shares(
    identity: &Identity,
    recipients: &[Recipient],
    terms: ShareTerms<'_>,
) -> Result<Vec<u8>, SealFailed> {
    let distinct: BTreeSet<String> = recipients.iter().map(ToString::to_string).collect();
    if distinct.len() != recipients.len() || !is_valid_threshold(usize::from(terms.threshold), recipients.len()) {
        return Err(SealFailed::Internal);
    }
    let of = u8::try_from(recipients.len()).map_err(|_| SealFailed::Internal)?;
    let (secret, public) = (identity.to_string(), identity.to_public().to_string());
    let text = secret.expose_secret().as_bytes();
    let split = Gf256::split_bytes(usize::from(terms.threshold), recipients.len(), text, &mut SystemRandomness);
    let values = Zeroizing::new(split.map_err(|_| SealFailed::Internal)?);
    let set = kernel::hex::encode(&SystemRng.id());
    let mut shares = Vec::with_capacity(recipients.len());
    for (recipient, value) in recipients.iter().zip(&*values) {
        let (x, y) = value.split_first().ok_or(SealFailed::Internal)?;
        let share = KeyShare {
            v: VERSION,
            set: set.clone(),
            place: terms.place.to_owned(),
            public: public.clone(),
            threshold: terms.threshold,
            of,
            x: *x,
            y: Secret::new(STANDARD.encode(y)),
        };
        let mut age = Vec::with_capacity(1024);
        let line = share.to_line().ok_or(SealFailed::Internal)?;
        append_age_file(std::iter::once(recipient as &dyn age::Recipient), &line, &mut age)?;
        shares.push(SealedShare { x: *x, age: STANDARD.encode(age) });
    }
    let envelope = ShareEnvelope { v: VERSION, key_id: key_id(&public), set, threshold: terms.threshold, of, shares };
    let mut object = serde_json::to_vec(&envelope).map_err(|_| SealFailed::Internal)?;
    object.push(b'\n');
    Ok(object)
}

impl ShareEnvelope {
    /// Whether a key object is of this form; otherwise it is an age file.
    pub fn is_envelope(object: &[u8]) -> bool {
        object.first() == Some(&b'{')
    }

    /// Parses a key object. The caller limits its size.
    pub fn parse(object: &[u8]) -> Result<Self, &'static str> {
        let envelope: Self = serde_json::from_slice(object).map_err(|_| "it is not a valid envelope of shares")?;
        let positions: BTreeSet<u8> = envelope.shares.iter().map(|share| share.x).collect();
        let is_valid = envelope.v == VERSION
            && is_valid_threshold(usize::from(envelope.threshold), usize::from(envelope.of))
            && envelope.shares.len() == usize::from(envelope.of)
            && positions == (1..=envelope.of).collect();
        if is_valid { Ok(envelope) } else { Err("it is not a valid envelope of shares") }
    }

    /// The shares that these identities open. Damaged ones are passed over: the others may be enough.
    ///
    /// # Errors
    /// A share contradicts the envelope.
    pub fn open(&self, identities: &[Identity]) -> Result<Vec<KeyShare>, &'static str> {
        let mut opened = Vec::new();
        for sealed in &self.shares {
            let Ok(age) = STANDARD.decode(&sealed.age) else { continue };
            let Ok(decryptor) = age::Decryptor::new_buffered(&age[..]) else { continue };
            let identities = identities.iter().map(|identity| identity as &dyn age::Identity);
            let Ok(plain) = decryptor.decrypt(identities) else { continue };
            let mut text = Zeroizing::new(String::new());
            if plain.take(MAX_SHARE_TEXT).read_to_string(&mut text).is_err() {
                continue;
            }
            let share = KeyShare::parse(&text)?;
            let is_of_envelope = (&share.set, share.threshold, share.of, share.x)
                == (&self.set, self.threshold, self.of, sealed.x)
                && key_id(&share.public) == self.key_id;
            if !is_of_envelope {
                return Err("a share contradicts its envelope");
            }
            opened.push(share);
        }
        Ok(opened)
    }
}

impl KeyShare {
    /// Parses a share's line.
    ///
    /// # Errors
    /// The text is not a share. The error contains nothing of it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let share: Self = serde_json::from_str(text).map_err(|_| "it is not a share of a key")?;
        let is_valid = share.v == VERSION
            && is_valid_threshold(usize::from(share.threshold), usize::from(share.of))
            && (1..=share.of).contains(&share.x);
        if is_valid { Ok(share) } else { Err("it is not a share of a key") }
    }

    /// The share as a line of JSON; `None` can't happen, because all fields are texts and numbers.
    pub fn to_line(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_SHARE_TEXT as usize));
        serde_json::to_writer(&mut *line, self).ok()?;
        line.push(b'\n');
        Some(line)
    }

    fn is_of_same_split(&self, other: &Self) -> bool {
        (&self.set, &self.place, &self.public, self.threshold, self.of)
            == (&other.set, &other.place, &other.public, other.threshold, other.of)
    }
}

/// The session's key that the shares of one split give. Repeated shares count once. Wrong shares do no harm if enough
/// right ones are there: every selection that is just large enough is tried, of 16 shares 12,870 at most.
///
/// # Errors
/// The shares are too few, don't belong together, or no selection gives the key that it names.
pub fn combine_shares(shares: &[KeyShare]) -> Result<Identity, CombineFailure> {
    let mut splits: Vec<Vec<&KeyShare>> = Vec::new();
    for share in shares {
        match splits.iter_mut().find(|split| split.first().is_some_and(|first| first.is_of_same_split(share))) {
            Some(split) if split.iter().any(|same| (same.x, &same.y) == (share.x, &share.y)) => {}
            Some(split) => split.push(share),
            None => splits.push(vec![share]),
        }
    }
    let mut failures = Vec::new();
    for mut split in splits {
        let Some(first) = split.first().copied() else { continue };
        split.sort_by_key(|share| share.x);
        let have = split.iter().map(|share| share.x).collect::<BTreeSet<_>>().len();
        if have < usize::from(first.threshold) {
            failures.push(CombineFailure::TooFew { have, threshold: first.threshold });
            continue;
        }
        let mut attempts = MAX_SELECTIONS;
        match find_selection(&split, &mut Vec::new(), &mut attempts) {
            Some(identity) => return Ok(identity),
            None => failures.push(CombineFailure::Wrong),
        }
    }
    match <[CombineFailure; 1]>::try_from(failures) {
        Ok([failure]) => Err(failure),
        Err(failures) if failures.contains(&CombineFailure::Wrong) => Err(CombineFailure::Wrong),
        Err(_) => Err(CombineFailure::Mixed),
    }
}

/// The key that `selected` gives with some of `rest`, which are sorted by position; `left` limits the attempts.
fn find_selection<'s>(rest: &[&'s KeyShare], selected: &mut Vec<&'s KeyShare>, left: &mut u32) -> Option<Identity> {
    let threshold = usize::from(selected.first().or(rest.first())?.threshold);
    if selected.len() == threshold {
        *left -= 1;
        return combine_selection(selected);
    }
    let mut rest = rest;
    while let Some((share, later)) =
        rest.split_first().filter(|_| *left > 0 && selected.len() + rest.len() >= threshold)
    {
        rest = later;
        if selected.last().is_some_and(|last| last.x == share.x) {
            continue; // two values of one position
        }
        selected.push(share);
        if let Some(identity) = find_selection(later, selected, left) {
            return Some(identity);
        }
        selected.pop();
    }
    None
}

/// The key that these shares give, if it is the one that they name.
fn combine_selection(shares: &[&KeyShare]) -> Option<Identity> {
    let mut values: Zeroizing<Vec<Vec<u8>>> = Zeroizing::default();
    for share in shares {
        let mut value = vec![share.x];
        STANDARD.decode_vec(share.y.expose(), &mut value).ok()?;
        values.push(value);
    }
    // refuses values of different lengths
    let secret = Gf256::combine_bytes(&*values).map(Zeroizing::new).ok()?;
    let identity: Identity = std::str::from_utf8(&secret).ok()?.parse().ok()?;
    shares.first().filter(|first| identity.to_public().to_string() == first.public).map(|_| identity)
}

#[cfg(test)]
mod tests;
