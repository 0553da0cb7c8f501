#!/usr/bin/env bash
# build_release.sh FILE [CARGO OPTIONS]: builds the release and puts the binary at FILE. Neither folder, user, time nor
# locale are in it. $TARGET is another target than this machine's. The Dockerfile, `just release` and `just nightly
# reproducible` all build with this script. Needs GCC 8 or clang 10 (-ffile-prefix-map).
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:?usage: build_release.sh FILE [CARGO OPTIONS]}
shift
host=$(rustc -vV | sed -n 's/^host: //p')
folder=${CARGO_TARGET_DIR:-target}
# With `--target`, cargo would not apply RUSTFLAGS to derive macros and build scripts.
if [ "${TARGET:-$host}" != "$host" ]; then
  set -- --target "$TARGET" "$@"
  folder+=/$TARGET
fi
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# the folder of the sources must exist before it can be mapped
cargo fetch --locked --quiet
commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
# compilers apply the last rule that matches: from the outer folder to the inner ones
maps=("$PWD=/build/tollgate" "$cargo_home=/cargo")
for registry in "$cargo_home"/registry/src/*/; do
  # the folder's name has a hash of the registry's address, which a mirror changes
  [ ! -d "$registry" ] || maps+=("${registry%/}=/cargo/crates")
done
# present only with the component rust-src
maps+=("$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$commit")
rust=${RUSTFLAGS:-} c=''
for map in "${maps[@]}"; do
  case $map in *[[:space:]]*) echo "build_release.sh: a folder with spaces can't be mapped: ${map%%=*}" >&2; exit 1 ;; esac
  rust+=" --remap-path-prefix=$map"
  c+=" -ffile-prefix-map=$map"
done
export RUSTFLAGS=$rust CFLAGS="${CFLAGS:-}$c" CXXFLAGS="${CXXFLAGS:-}$c"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export ZERO_AR_DATE=1 LC_ALL=C TZ=UTC CARGO_INCREMENTAL=0
cargo build --release --locked --bin tollgate "$@"
cp "$folder/release/tollgate" "$file.part" && mv "$file.part" "$file"
