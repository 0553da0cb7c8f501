#!/usr/bin/env bash
# Installs the pinned Claude Code under ${PEERS_CACHE:-target/peers}/claude_code (about 250 MB); nothing to do when it is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
to=${PEERS_CACHE:-$here/../../../target/peers}/claude_code
mkdir -p "$to"
if ! cmp -s "$here/package.json" "$to/package.installed"; then
  cp "$here/package.json" "$to/package.json"
  (cd "$to" && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error >&2)
  cp "$here/package.json" "$to/package.installed"
fi
(cd "$to" && pwd)
