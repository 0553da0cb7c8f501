//! Fakes shared by unit tests of several modules, compiled for tests only. Fixtures of one module are in its
//! `tests.rs`.

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
