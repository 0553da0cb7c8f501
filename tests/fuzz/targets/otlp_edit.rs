#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../bodies/otlp_edit.rs"]
mod body;
#[path = "../../../crates/otlp/src/tests/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
