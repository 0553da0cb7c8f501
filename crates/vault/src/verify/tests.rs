//! A vault as it is really written, in memory, and what becomes of it.

mod clean;
mod keys;
mod lifecycle;
mod locks;
mod outage;
mod tamper;
mod times;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sha2::Digest as _;

use super::{Options, Report, verify};
use crate::chain::digest::Digest;
use crate::chain::note::{SigningKey, VerifyKey};
use crate::keys::KeyRing;
use crate::names::rfc3339;
use crate::read::Vault;
use crate::seal::AgeSealer;
use crate::store::{ObjectKind, Put, StoreError, VaultReader, VaultStore};
use crate::testing::journal::signing_key;
use crate::testing::site::{Memory, Site, process};
use kernel::clock::{Clock, UnixNanos};
use kernel::rng::SeededRng;
use telemetry::Meter;

const NOON: UnixNanos = crate::testing::journal::NOON;
