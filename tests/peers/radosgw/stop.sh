#!/usr/bin/env bash
# Ends what run.sh started in DIR (default ${PEERS_CACHE:-target/peers}/radosgw) and removes the folder; by pid, checked by name.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-${PEERS_CACHE:-$here/../../../target/peers}/radosgw}
[ -d "$dir" ] || exit 0
alive() { [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "${2:0:15}" ]; }
each() { while read -r pid name; do alive "$pid" "$name" && "$@" "$pid"; done < <(tac "$dir/pids" 2>/dev/null); }
# the store is memory: nothing to save, so no polite wait for the OSD
each kill -KILL
for _ in $(seq 50); do
  left=$(each echo)
  [ -z "$left" ] && break
  sleep 0.1
done
[ -f "$dir/run-dir" ] && rm -rf "$(cat "$dir/run-dir")"
rm -rf "$dir"
