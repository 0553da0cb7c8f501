#!/usr/bin/env bash
# Dex with users of a file, built from its Go module, as target/peers/dex; the version is in go.mod.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache"
cd "$here" && CGO_ENABLED=0 go build -o "$cache/dex" .
