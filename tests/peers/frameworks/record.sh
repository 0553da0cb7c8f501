#!/usr/bin/env bash
# Records what Python frameworks send: record.sh CLIENT[/SESSION]…, or without a name all of clients.py; then its manifest and keys.
# Each session names a group: a venv under ${PEERS_CACHE:-target/peers}, pinned in requirements/GROUP.txt (50 to 800 MB).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PEERS_CACHE=$("$here/../sdk/install.sh" python)
export PEERS_CACHE
python=$PEERS_CACHE/venv/bin/python
[ $# -gt 0 ] || set -- $("$python" -c 'import sys; sys.path.insert(0, sys.argv[1]); from clients import CLIENTS; print(*CLIENTS)' "$here")

for group in $("$python" "$here/record.py" --groups "$@"); do
  "$here/../pip_install.sh" "venv-$group" "$here/requirements/$group.txt" >&2
done
"$python" "$here/record.py" "$@"
for client in $(printf '%s\n' "${@%%/*}" | sort -u); do
  "$python" "$here/../manifest.py" "$here/../../recordings/$client"
done
