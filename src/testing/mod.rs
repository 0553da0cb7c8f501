//! **What**: what unit tests of several rooms share. **Why**: one fake each. **Invariants**: compiled for tests only.
//! **Not here**: fixtures of one room (its `tests.rs`).

pub mod back_end;
pub mod builtin;
pub mod drive;
pub mod engine;
pub mod errands;
pub mod fake_kms;
pub mod fake_s3;
pub mod guard;
pub mod raw;
pub mod request;
pub mod rig;
pub mod runs;
pub mod sim_disk;
pub mod sink;
pub mod tasks;
pub mod tls;
pub mod until;
