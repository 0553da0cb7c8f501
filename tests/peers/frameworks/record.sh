#!/usr/bin/env bash
# Records what Python frameworks send: record.sh CLIENT[/SESSION]…, or without a name all of clients.py; then its manifest and keys.
# Each session names a group: a venv under ${PEERS_CACHE:-target/peers}, pinned in requirements/GROUP.txt (50 to 800 MB; `uv` is used if there).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PEERS_CACHE=$("$here/../sdk/install.sh" python)
export PEERS_CACHE
python=$PEERS_CACHE/venv/bin/python
[ $# -gt 0 ] || set -- $("$python" -c 'import sys; sys.path.insert(0, sys.argv[1]); from clients import CLIENTS; print(*CLIENTS)' "$here")

for group in $("$python" "$here/record.py" --groups "$@"); do
  pins=$here/requirements/$group.txt venv=$PEERS_CACHE/venv-$group
  cmp -s "$pins" "$venv/requirements.installed" && continue
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  if command -v uv >/dev/null; then
    uv pip install --quiet --python "$venv/bin/python" -r "$pins" >&2
  else
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$pins" >&2
  fi
  cp "$pins" "$venv/requirements.installed"
done
"$python" "$here/record.py" "$@"
for client in $(printf '%s\n' "${@%%/*}" | sort -u); do
  "$python" "$here/../manifest.py" "$here/../../recordings/$client"
done
