#!/usr/bin/env bash
# The vendors' JavaScript SDKs, LangChain and their instrumentations, under ${PEERS_CACHE:-target/peers}/instrumented_js.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
