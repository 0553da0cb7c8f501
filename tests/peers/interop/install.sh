#!/usr/bin/env bash
# Other implementations of age under ${PEERS_CACHE:-target/peers}: rage (Rust, built by cargo, 2 min once), age-encryption (npm). Go's is Debian's package `age`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
"$here/../npm_install.sh" "$here" >&2
version=0.12.1
if ! "$cache/rage/bin/rage" --version 2>/dev/null | grep -q "$version"; then
  # not optimised: little is opened with it
  CARGO_TARGET_DIR=$cache/rage/build CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install rage --debug --version "$version" --locked --no-default-features --root "$cache/rage" >&2
  rm -rf "$cache/rage/build"
fi
