#!/usr/bin/env bash
# The venv with OpenTelemetry's instrumentations of Flask, requests and SQLAlchemy, under ${PEERS_CACHE:-target/peers}.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
[ -x "$cache/venv-ordinary/bin/python" ] || python3 -m venv "$cache/venv-ordinary"
"$cache/venv-ordinary/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
