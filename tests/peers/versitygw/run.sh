#!/usr/bin/env bash
# Another real S3 with Object Lock: versitygw 1.8 (Go) over a folder. 30 MB resident, everything on 127.0.0.1.
#
#   run.sh [--port N] [--dir DIR] [--buckets audit-logs,audit-keys] [--plain plain]
#
# The port defaults to a free one, DIR to ${PEERS_CACHE:-target/peers}/versitygw; its file system must know extended attributes. Builds the
# server from its Go module (Go 1.26, 2 min once) and makes a venv with boto3. Prints one JSON line as radosgw/run.sh does. Ends with
# radosgw/stop.sh DIR.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
version=v1.8.0
port= dir= buckets=audit-logs,audit-keys plain=plain
while [ $# -gt 0 ]; do
  case $1 in
    --port) port=$2 ;; --dir) dir=$2 ;; --buckets) buckets=$2 ;; --plain) plain=$2 ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
began=$(date +%s.%N)
mkdir -p "$cache/go"
cache=$(cd "$cache" && pwd)
server=$cache/go/versitygw
if ! "$server" --version 2>/dev/null | grep -q "${version#v}"; then
  command -v go >/dev/null || { echo "versitygw: Go 1.26 is missing" >&2; exit 3; }
  # a build of a tagged module does not know its tag
  GOPATH=$cache/gopath GOCACHE=$cache/gocache GOFLAGS=-modcacherw GOTOOLCHAIN=local GOBIN=$cache/go CGO_ENABLED=0 \
    go install -ldflags "-X main.Version=${version#v}" "github.com/versity/versitygw/cmd/versitygw@$version" >&2
fi
PEERS_CACHE=$cache "$here/../pip_install.sh" venv-s3 "$here/../radosgw/requirements.txt" >&2

port=${port:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
dir=${dir:-$cache/versitygw}
if [ -e "$dir/pids" ]; then "$here/../radosgw/stop.sh" "$dir"; fi
rm -rf "$dir"
mkdir -p "$dir"/{data,versions,iam}
dir=$(cd "$dir" && pwd)
secret() { head -c 30 /dev/urandom | base64 | tr '+/' 'ab'; }
access=TOLLGATEADMIN0000001 key=$(secret) writer=TOLLGATEWRITER000001 writer_key=$(secret)
ROOT_ACCESS_KEY_ID=$access ROOT_SECRET_ACCESS_KEY=$key "$server" --port "127.0.0.1:$port" --region us-east-1 --quiet --iam-dir "$dir/iam" \
  posix --versioning-dir "$dir/versions" "$dir/data" < /dev/null >> "$dir/daemons.out" 2>&1 &
echo "$! versitygw" > "$dir/pids"
fail() {
  echo "versitygw did not start: $1" >&2
  tail -n 5 "$dir/daemons.out" >&2 || true
  "$here/../radosgw/stop.sh" "$dir" >&2 || true
  exit 1
}
endpoint=http://127.0.0.1:$port
for _ in $(seq 100); do curl -s -o /dev/null "$endpoint" && break; sleep 0.1; done
curl -s -o /dev/null "$endpoint" || fail "no answer on port $port"
"$server" admin --access "$access" --secret "$key" --endpoint-url "$endpoint" --region us-east-1 \
  create-user --access "$writer" --secret "$writer_key" --role user >> "$dir/daemons.out" 2>&1 || fail "create-user"
ENDPOINT=$endpoint ACCESS=$access KEY=$key WRITER=$writer WRITER_KEY=$writer_key BUCKETS=$buckets PLAIN=$plain DIR=$dir BEGAN=$began \
  WRITER_PRINCIPAL=$writer ADMIN_PRINCIPAL= "$cache/venv-s3/bin/python" "$here/../radosgw/buckets.py" || fail "buckets"
