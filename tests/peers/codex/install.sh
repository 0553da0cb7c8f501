#!/usr/bin/env bash
# The pinned Codex CLI (404 MB), under ${PEERS_CACHE:-target/peers}/codex.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
