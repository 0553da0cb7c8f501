//! C2SP signed notes and checkpoints, and the Ed25519 keys that sign ([`SigningKey`]) and verify ([`VerifyKey`]) them,
//! in the text formats of Go's `note` package, so that auditors can use other tools.
//!
//! The secret is kept in a [`Secret`] or wiped. A note is accepted only with a signature of a known key whose name and
//! id also match. Neighbour: `app/gateway_keys` finds the key files.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use kernel::rng::Rng;
use kernel::secret::Secret;
use kernel::sha256::Sha256;

use super::tree::NodeHash;

/// The number of the algorithm Ed25519 in key texts.
const ED25519_ALGORITHM: u8 = 1;
const PRIVATE_KEY_PREFIX: &str = "PRIVATE+KEY+";
/// Longest note that [`open_note`] accepts.
const MAX_NOTE_BYTES: usize = 64 << 10;

/// Signs digests. The secret stays in the TLS library's memory, which the library wipes.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyKey,
}

/// The public half of a signing key: `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyKey {
    name: String,
    id: [u8; 4],
    key: [u8; 32],
}

/// Whether a key may have this name.
pub fn is_key_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
}

impl SigningKey {
    /// Generates a key and returns its text, `PRIVATE+KEY+name+id+secret`; `None` if the name is invalid.
    pub fn generate(name: &str, rng: &dyn Rng) -> Option<Secret> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        rng.fill(&mut *seed);
        let public = Self::from_seed(name, &seed)?.public;
        let mut bytes = Zeroizing::new([ED25519_ALGORITHM; 33]);
        for (target, byte) in bytes.iter_mut().skip(1).zip(seed.iter()) {
            *target = *byte;
        }
        let mut text = Zeroizing::new(String::with_capacity(PRIVATE_KEY_PREFIX.len() + name.len() + 64));
        for part in [PRIVATE_KEY_PREFIX, name, "+", &kernel::hex::encode(&public.id), "+"] {
            text.push_str(part);
        }
        STANDARD.encode_string(*bytes, &mut text);
        Some(Secret::new(std::mem::take(&mut *text)))
    }

    fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        if !is_key_name(name) {
            return None;
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let key: [u8; 32] = pair.public_key().as_ref().try_into().ok()?;
        let public = VerifyKey { name: name.to_owned(), id: key_id(name, &key), key };
        Some(Self { pair, public })
    }

    /// Parses the key in a file's text: the one line that is not a comment.
    ///
    /// # Errors
    /// What is wrong, without the value.
    pub fn from_secret(text: &Secret) -> Result<Self, &'static str> {
        const MALFORMED: &str = "contains no signing key (expected `PRIVATE+KEY+name+id+…`; create one with `tollgate vault keygen --signing`)";
        let mut lines = text.expose().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (line, None) = (lines.next().ok_or(MALFORMED)?, lines.next()) else { return Err(MALFORMED) };
        let (name, id, key) = line.strip_prefix(PRIVATE_KEY_PREFIX).and_then(split_key).ok_or(MALFORMED)?;
        let mut bytes = Zeroizing::new([0_u8; 48]);
        let decoded = STANDARD.decode_slice(key, &mut *bytes).map_err(|_| MALFORMED)?;
        let Some((ED25519_ALGORITHM, seed)) =
            bytes.get(..decoded).and_then(|bytes| bytes.split_first()).map(|(algorithm, seed)| (*algorithm, seed))
        else {
            return Err(MALFORMED);
        };
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| MALFORMED)?);
        let key = Self::from_seed(name, &seed).ok_or(MALFORMED)?;
        if kernel::hex::encode(&key.public.id) == id {
            Ok(key)
        } else {
            Err(
                "contains a signing key whose id does not match the key: create a new one with `tollgate vault keygen --signing`",
            )
        }
    }

    pub fn public(&self) -> &VerifyKey {
        &self.public
    }

    /// Signs `bytes`.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.pair.sign(bytes).as_ref().try_into().unwrap_or([0; 64]) // Ed25519 signatures have 64 bytes
    }

    /// Builds a signed note from `text`, which must end in a line feed.
    pub fn sign_note(&self, text: &str) -> String {
        let signature = [&self.public.id[..], &self.sign(text.as_bytes())].concat();
        format!("{text}\n\u{2014} {} {}\n", self.public.name, STANDARD.encode(signature))
    }
}

/// Name, id and key of `name+id+key`.
fn split_key(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('+')?;
    let (id, key) = rest.split_once('+')?;
    Some((name, id, key))
}

/// First four bytes of the SHA-256 of name, line feed, algorithm and key.
fn key_id(name: &str, key: &[u8; 32]) -> [u8; 4] {
    let hash = Sha256::digest_parts([name.as_bytes(), &[b'\n', ED25519_ALGORITHM], key]);
    hash.first_chunk::<4>().copied().unwrap_or_default()
}

impl VerifyKey {
    /// Parses `name+id+key`, with an id of 8 hex digits and the key in base64.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const MALFORMED: &str =
            "is not a signer's public key (expected `name+id+key`, as `tollgate vault keygen --signing` prints it)";
        let (name, id, key) = split_key(text.trim()).ok_or(MALFORMED)?;
        if name == "PRIVATE" {
            return Err("is a secret key: use the public key instead");
        }
        let bytes = STANDARD.decode(key).map_err(|_| MALFORMED)?;
        let Some((&ED25519_ALGORITHM, key)) = bytes.split_first() else { return Err(MALFORMED) };
        let key: [u8; 32] = key.try_into().map_err(|_| MALFORMED)?;
        let parsed = Self { name: name.to_owned(), id: key_id(name, &key), key };
        if is_key_name(name) && kernel::hex::encode(&parsed.id) == id { Ok(parsed) } else { Err(MALFORMED) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this key signed these bytes.
    pub fn is_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(bytes, signature).is_ok()
    }
}

impl std::fmt::Display for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = [&[ED25519_ALGORITHM][..], &self.key].concat();
        write!(f, "{}+{}+{}", self.name, kernel::hex::encode(&self.id), STANDARD.encode(key))
    }
}

/// Opens a note: returns its text and the first of `keys` that signed it.
pub fn open_note<'a, 'k>(note: &'a str, keys: &'k [VerifyKey]) -> Option<(&'a str, &'k VerifyKey)> {
    let (text, signers) = verified_signers(note, keys).filter(|_| note.len() <= MAX_NOTE_BYTES)?;
    Some((text, *signers.first()?))
}

/// Opens a note of any length: returns its text and those of `keys` that signed it, in the note's order. A key counts
/// once, even under several names.
pub fn verified_signers<'a, 'k>(note: &'a str, keys: &'k [VerifyKey]) -> Option<(&'a str, Vec<&'k VerifyKey>)> {
    let blank_line = note.rfind("\n\n").filter(|_| note.ends_with('\n'))?;
    let (text, signatures) = (note.get(..=blank_line)?, note.get(blank_line + 2..)?);
    let signers = signatures.lines().map(|line| {
        let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let bytes = STANDARD.decode(signature).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        let is_named = |key: &&VerifyKey| key.name == name && key.id == *id;
        Some(keys.iter().filter(is_named).find(|key| key.is_signed(text.as_bytes(), signature)))
    });
    let signers: Option<Vec<_>> = signers.collect();
    let mut distinct: Vec<&VerifyKey> = Vec::new();
    for signer in signers?.into_iter().flatten() {
        if !distinct.iter().any(|counted| counted.key == signer.key) {
            distinct.push(signer);
        }
    }
    Some((text, distinct))
}

/// Content of a checkpoint: a tree's origin, size and root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Identifies the tree: `key name/account/writer/epoch`.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    pub root: NodeHash,
}

impl Checkpoint {
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root))
    }

    /// Parses a checkpoint text without extension lines.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root, None) = (lines.next()?, lines.next()?, lines.next()?, lines.next()) else {
            return None;
        };
        let leaves: u64 = size.parse().ok()?;
        let root = <NodeHash>::try_from(STANDARD.decode(root).ok()?).ok()?;
        (!origin.is_empty() && leaves.to_string() == size).then(|| Self {
            origin: origin.to_owned(),
            size: leaves,
            root,
        })
    }
}
