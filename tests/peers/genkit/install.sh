#!/usr/bin/env bash
# Genkit and its OpenAI plugin, under ${PEERS_CACHE:-target/peers}/genkit.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
