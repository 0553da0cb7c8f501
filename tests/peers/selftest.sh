#!/usr/bin/env bash
# Do the peers themselves work? Senders against the sink with faults, the recordings against their manifests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$("$here/sdk/install.sh")
python=$cache/venv/bin/python
dir=$(mktemp -d)
fail() { echo "selftest: $1" >&2; exit 1; }

"$python" "$here/sink.py" --dir "$dir" --grpc 0 > "$dir/ready" &
sink=$!
trap 'kill $sink 2>/dev/null || true; rm -rf "$dir"' EXIT
for _ in $(seq 100); do [ -s "$dir/ready" ] && break; sleep 0.1; done
port() { "$python" -c "import json, sys; print(json.load(open('$dir/ready'))['$1'])"; }
http=$(port http) grpc=$(port grpc)
control() { curl -sf "http://127.0.0.1:$http/control?$1" > /dev/null; }

send() { # NAME PORT ARGUMENTS…
  local name=$1 to=$2
  shift 2
  if [ "$name" = js ]; then
    node "$cache/js/send.mjs" --endpoint "http://127.0.0.1:$to" --prefix "js$RANDOM" "$@"
  else
    "$python" "$here/sdk/send.py" --endpoint "http://127.0.0.1:$to" --protocol "$name" --prefix "$name$RANDOM" "$@"
  fi >> "$dir/sent"
}
for peer in "http $http" "grpc $grpc" "js $http"; do
  set -- $peer
  send "$@" --count 40 --signals traces,logs,metrics || fail "$1: not all accepted"
  send "$@" --count 5 --compression gzip || fail "$1: gzip"
  for fault in "status=503" "status=429&retry_after=1" "reset=1" "reset=after"; do
    control "$fault&count=1"
    send "$@" --count 3 || fail "$1: $fault was not retried"
  done
  control "status=400&count=1"
  if send "$@" --count 3; then fail "$1: a 400 was taken for an OK"; fi
done
"$python" - "$dir" <<'END' || fail "ids"
import json, sys
got = {json.loads(l)["test_id"] for l in open(sys.argv[1] + "/ids.jsonl")}
sent = {l["id"] for l in map(json.loads, open(sys.argv[1] + "/sent")) if "id" in l}
assert len(sent) == 3 * (120 + 5 + 12), len(sent)
assert sent == got, sent ^ got
END
for recording in "$here"/../recordings/*/; do
  "$python" "$here/manifest.py" --check "$recording" > /dev/null || fail "$recording"
done
echo "peers: ok"
