#!/usr/bin/env bash
# The Vercel AI SDK 4 to 7 side by side and the OpenTelemetry SDK, under ${PEERS_CACHE:-target/peers}/vercel_ai.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
