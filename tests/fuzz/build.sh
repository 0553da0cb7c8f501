#!/usr/bin/env bash
# Builds the fuzz targets with libFuzzer's coverage feedback and prints their folder. The stable toolchain is enough: the flags are those of
# `cargo fuzz -s none` (there is no unsafe code of ours that a sanitizer would watch). libFuzzer itself is C++.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v c++ >/dev/null || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends g++; } >&2
host=$(rustc -vV | sed -n 's/^host: //p')
# with a target, build scripts and macros are built without the flags
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --locked --release --jobs "${FUZZ_JOBS:-2}" --manifest-path tests/fuzz/Cargo.toml --target "$host" --target-dir target/fuzz >&2
echo "$PWD/target/fuzz/$host/release"
