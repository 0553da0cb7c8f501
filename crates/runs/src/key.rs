//! [`run_key`]: the number that identifies a run in all stores.

use kernel::sha256::Sha256;

/// The first 64 bits of the SHA-256 of a list of parts; never 0.
pub fn digest(parts: &[&str]) -> u64 {
    let hash = Sha256::digest_list(parts);
    hash.first_chunk::<8>().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1)
}

/// Identifies the run of an account in all stores and outcomes: a [`digest`]. `run` is the run's id as shown.
pub fn run_key(account: &str, run: &str) -> u64 {
    digest(&["outcome", account, run])
}
