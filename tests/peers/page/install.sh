#!/usr/bin/env bash
# The driver of a browser and axe-core under ${PEERS_CACHE:-target/peers}/page. The browser is Debian's chromium.
exec "$(dirname "$0")/../npm_install.sh" "$(dirname "$0")"
