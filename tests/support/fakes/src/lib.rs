//! Servers that tests talk to over real sockets: a back end that records requests, S3, KMS, a certificate authority, an
//! identity provider.
//! Invariants: a dev-dependency only; depends on no other crate of this workspace, so that any crate may use it.
//! Neighbours: `fixtures` (no sockets), `tests/peers` (real servers).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test support")]
#![allow(clippy::disallowed_methods, reason = "tests make their own tasks")]
#![allow(missing_docs, reason = "test support")]

pub mod fake_kms;
pub mod fake_s3;
pub mod oidc;
pub mod sink;
pub mod tls;
