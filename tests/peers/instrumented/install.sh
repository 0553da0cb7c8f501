#!/usr/bin/env bash
# The venvs with the vendors' SDKs and their instrumentations, under ${PEERS_CACHE:-target/peers}; about 25 s the first time.
# Two, because opentelemetry-instrumentation-openai-v2 stopped before opentelemetry-util-genai 1.0.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
for pair in requirements:venv-instrumented requirements-openai-v2:venv-openai-v2; do
  pins=$here/${pair%%:*}.txt venv=$cache/${pair##*:}
  cmp -s "$pins" "$venv/requirements.installed" && continue
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$pins" >&2
  cp "$pins" "$venv/requirements.installed"
done
echo "$cache"
