#!/usr/bin/env bash
# The pinned Gemini CLI (100 MB), under ${PEERS_CACHE:-target/peers}/gemini_cli.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
