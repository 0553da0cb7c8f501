#!/usr/bin/env bash
# The pinned OpenCode, under ${PEERS_CACHE:-target/peers}/opencode.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
