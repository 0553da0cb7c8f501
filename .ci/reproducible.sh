#!/usr/bin/env bash
# reproducible.sh: builds the release twice from the commit, in two folders, with two cargo homes, users' masks and time
# zones, and compares the binaries byte for byte. For a quick try without link-time optimisation:
# CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 bash .ci/reproducible.sh
set -euo pipefail
cd "$(dirname "$0")/.."
base=$PWD/target/nightly/reproducible
one=$base/one two=$base/another/folder/with/a/longer/name
commit=$(git rev-parse HEAD)
# what was built of this commit before is kept, so that a run that was cut off goes on
if [ "$(cat "$base/commit" 2>/dev/null)" != "$commit" ]; then
  rm -rf "$base"
  mkdir -p "$one" "$two"
  for folder in "$one" "$two"; do git archive "$commit" | tar -x -C "$folder"; done
  echo "$commit" > "$base/commit"
fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH
unset CARGO_TARGET_DIR
[ -f "$base/first" ] || (cd "$one" && bash .ci/build_release.sh "$base/first")
if [ ! -d "$base/cargo-home" ]; then
  # hard links, so that nothing is downloaded again
  rm -rf "$base/home" && mkdir "$base/home" && cp -al "${CARGO_HOME:-$HOME/.cargo}/registry" "$base/home/" && mv "$base/home" "$base/cargo-home"
fi
[ -f "$base/second" ] || (cd "$two" && umask 077 && CARGO_HOME=$base/cargo-home TZ=Pacific/Kiritimati LC_ALL=C.UTF-8 USER=somebody bash .ci/build_release.sh "$base/second")
for folder in "$base" "${CARGO_HOME:-$HOME/.cargo}"; do
  if grep -qaF "$folder" "$base/first" "$base/second"; then
    echo "reproducible: failed: $folder is in a binary" >&2
    exit 1
  fi
done
sha256sum "$base/first" "$base/second"
cmp "$base/first" "$base/second" || { echo "reproducible: failed: the two binaries differ; they are kept in $base" >&2; exit 1; }
echo "reproducible: two builds of ${commit:0:8} are equal byte for byte, $(stat -c %s "$base/first") bytes"
rm -rf "$base"
