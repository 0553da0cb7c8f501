#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../bodies/otlp_json.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
