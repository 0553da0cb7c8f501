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

use super::{VerifyOptions, VerifyReport, verify};
use crate::read::Vault;
use crate::testing::site::{Memory, Site, process};
use kernel::clock::{Clock, UnixNanos};
use kernel::rng::SeededRng;
use telemetry::Meter;
use vault::chain::digest::ChainDigest;
use vault::chain::note::{SigningKey, VerifyKey};
use vault::key_ring::KeyRing;
use vault::object_names::rfc3339;
use vault::seal::AgeKeyGenerator;
use vault::store::{ObjectKind, PutOutcome, StoreError, VaultReader, VaultStore};
use vault::testing::journal::signing_key;

const NOON: UnixNanos = vault::testing::journal::NOON;
