#!/usr/bin/env bash
# LangChain and LangGraph for JavaScript and their instrumentations, under ${PEERS_CACHE:-target/peers}/langchain_js.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
