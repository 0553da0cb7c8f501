#![no_main]

#[path = "../bodies/inflate.rs"]
mod inflate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| inflate::body(data));
