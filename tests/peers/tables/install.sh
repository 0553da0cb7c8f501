#!/usr/bin/env bash
# DuckDB, ClickHouse (as a library, 530 MB) and a parser of Athena's SQL in a venv of its own under ${PEERS_CACHE:-target/peers}.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache"
venv=$(cd "$cache" && pwd)/tables/venv
if ! cmp -s "$here/requirements.txt" "$venv/requirements.installed"; then
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$venv/requirements.installed"
fi
