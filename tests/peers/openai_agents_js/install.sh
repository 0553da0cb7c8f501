#!/usr/bin/env bash
# The OpenAI Agents SDK for JavaScript and OpenInference's instrumentation of it, under ${PEERS_CACHE:-target/peers}/openai_agents_js.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
