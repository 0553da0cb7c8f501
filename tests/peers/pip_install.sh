#!/usr/bin/env bash
# Installs what FILE pins into ${PEERS_CACHE:-target/peers}/VENV and prints its path; nothing to do when it is there.
#   pip_install.sh VENV FILE [option of pip …]
set -euo pipefail
cache=${PEERS_CACHE:-$(dirname "$0")/../../target/peers}
mkdir -p "$cache"
venv=$(cd "$cache" && pwd)/$1 pins=$2
installed=$venv/$(basename "$(dirname "$pins")")-$(basename "$pins").installed
if ! cmp -s "$pins" "$installed"; then
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${@:3}" -r "$pins" >&2
  cp "$pins" "$installed"
fi
echo "$venv"
