#!/usr/bin/env bash
# What reads rules, triggers and alarms, in the venv of ../sdk. `tests/peers/run.sh alerts` calls it and installs Prometheus from Debian.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
"$here/../sdk/install.sh" python >/dev/null
venv=$(cd "$cache" && pwd)/venv
if ! cmp -s "$here/requirements.txt" "$venv/alerts.installed"; then
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$venv/alerts.installed"
fi
echo "$venv"
