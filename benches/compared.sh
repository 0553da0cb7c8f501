#!/usr/bin/env bash
# Installs the gateways that `just bench whole` then compares with into target/compared: the OpenTelemetry Collector
# (built with Go, ten minutes) and Rotel (from PyPI, which has only an early version). `compared.sh collector` installs
# the Collector alone.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/compared
mkdir -p "$out"
if [ ! -x "$out/collector/collector" ]; then
    GOBIN="$PWD/$out" go install go.opentelemetry.io/collector/cmd/builder@v0.145.0
    "$out/builder" --config benches/collector.yaml
fi
[ "${1:-}" != collector ] || exit 0
if [ ! -x "$out/rotel/rotel/rotel-agent" ]; then
    pip download --quiet --no-deps --dest "$out" rotel==0.0.1a15
    python3 -m zipfile -e "$out"/rotel-*.whl "$out/rotel"
    chmod +x "$out/rotel/rotel/rotel-agent"
fi
