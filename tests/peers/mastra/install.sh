#!/usr/bin/env bash
# Mastra and its exporter, under ${PEERS_CACHE:-target/peers}/mastra.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
