#!/usr/bin/env bash
# What checks the dashboards: the Python packages of ../promql, jsonschema, and Grafana's types with a TypeScript compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$("$here/../promql/install.sh")
"$venv/bin/python" -c 'import jsonschema' 2>/dev/null || "$venv/bin/pip" install --quiet --disable-pip-version-check jsonschema==4.25.1 >&2
exec "$here/../npm_install.sh" "$here"
