//! Verification of realistically written vaults in memory.

mod clean;
mod keys;
mod lifecycle;
mod locks;
mod mutations;
mod older;
mod outage;
mod running;
mod tamper;
mod times;
mod undetected;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{VerifyFinding, VerifyOptions, VerifyReport, anchor, verify};
use crate::erase::tests::key;
use crate::read::Vault;
use crate::testing::site::{Altered, Memory, Site, assert_said, names, process, text_of};
use kernel::clock::{Clock, UnixNanos};
use kernel::rng::SeededRng;
use telemetry::Meter;
use vault::chain::digest::ChainDigest;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::key_ring::KeyRing;
use vault::object_names::rfc3339;
use vault::store::{ObjectKind, PutOutcome, StoreError, VaultReader, VaultStore};
use vault::testing::journal::signing_key;

const NOON: UnixNanos = vault::testing::journal::NOON;

fn anchorer() -> SigningKey {
    key("anchor.test", 5)
}

/// An anchor of the vault in its current state.
async fn anchored(site: &Site) -> String {
    let heads = site.verify(chain_only()).await.heads;
    anchor::make(&heads, &rfc3339(site.clock.now()), &anchorer())
}

fn with_anchors(anchors: &[String]) -> VerifyOptions {
    let anchor_keys = vec![anchorer().public().clone()];
    VerifyOptions { anchors: anchors.to_vec(), anchor_keys, ..VerifyOptions::default() }
}

fn chain_only() -> VerifyOptions {
    VerifyOptions { chain_only: true, ..VerifyOptions::default() }
}

fn has(report: &VerifyReport, code: &str) -> bool {
    report.finding_counts.contains_key(code)
}

/// Whether a report has this finding at this place.
fn has_at(report: &VerifyReport, code: &str, location: &str) -> bool {
    report.findings.iter().any(|one| one.code == code && one.location == location)
}
