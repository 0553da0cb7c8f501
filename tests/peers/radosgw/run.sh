#!/usr/bin/env bash
# A real S3 with Object Lock: Ceph's radosgw 16.2 over one monitor and one OSD in memory. About 170 MB resident, nothing on disk but
# a folder of its own, everything on 127.0.0.1.
#
#   run.sh [--port N] [--mon-port N] [--dir DIR] [--buckets audit-logs,audit-keys] [--plain plain]
#
# Ports default to free ones, DIR to ${PEERS_CACHE:-target/peers}/radosgw. Installs the Debian packages if they are missing (needs root)
# and a venv with boto3. Buckets of --buckets have Object Lock and versioning, those of --plain have neither. Prints one JSON line:
#   {"endpoint", "region", "access_key", "secret_key", "buckets", "plain", "writer": {"access_key", "secret_key"}, "dir", "seconds"}
# `writer` may put objects and their retention into the lock buckets and nothing else. Ends with stop.sh DIR.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
port= mon= dir= buckets=audit-logs,audit-keys plain=plain
while [ $# -gt 0 ]; do
  case $1 in
    --port) port=$2 ;; --mon-port) mon=$2 ;; --dir) dir=$2 ;; --buckets) buckets=$2 ;; --plain) plain=$2 ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
began=$(date +%s.%N)

command -v radosgw ceph-mon ceph-osd radosgw-admin >/dev/null ||
  bash "$(dirname "$0")/../apt_install.sh" radosgw ceph-mon ceph-osd
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
venv=$cache/venv-s3
PEERS_CACHE=$cache "$here/../pip_install.sh" venv-s3 "$here/requirements.txt" >&2

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=${port:-$(free_port)} mon=${mon:-$(free_port)} dir=${dir:-$cache/radosgw}
if [ -e "$dir/pids" ]; then "$here/stop.sh" "$dir"; fi
rm -rf "$dir"
mkdir -p "$dir"/{mon,osd,run}
dir=$(cd "$dir" && pwd)
# the path of a socket has at most 107 bytes
run=$(mktemp -d /tmp/rgw.XXXXXX)
echo "$run" > "$dir/run-dir"

fsid=$(cat /proc/sys/kernel/random/uuid)
conf=$dir/ceph.conf
cat > "$conf" <<END
[global]
fsid = $fsid
mon host = [v1:127.0.0.1:$mon]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
osd objectstore = memstore
memstore device bytes = 1073741824
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
# at its start an OSD may ask the monitor before it knows the cluster's id ("wrong fsid") and end: it need not ask, see below
osd crush update on start = false
osd class update on start = false
mon allow pool size one = true
# no one to wait for: each map change would take a second
paxos propose interval = 0.05
paxos min wait = 0.01
mon warn on pool no redundancy = false
# a monitor ends itself when its disk is 95 % full, whoever filled it; this one needs 30 MB
mon data avail crit = 0
mon data avail warn = 0
mon cluster log to file = false
run dir = $run
admin socket = $run/\$name.asok
log file = $dir/\$name.log
crash dir = $dir/crash
[mon.a]
mon data = $dir/mon
mon addr = 127.0.0.1:$mon
[osd.0]
osd data = $dir/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $dir
rgw enable usage log = false
rgw thread pool size = 64
rgw num rados handles = 1
rgw dns name = localhost
END

fail() {
  echo "radosgw did not start: $1" >&2
  tail -n 5 "$dir"/*.log "$dir"/*.out >&2 || true
  "$here/stop.sh" "$dir" >&2 || true
  exit 1
}
# nothing of these may hold the caller's stdout open
start() { "$@" < /dev/null >> "$dir/daemons.out" 2>&1 & echo "$! $1" >> "$dir/pids"; }
quiet() { "$@" < /dev/null >> "$dir/daemons.out" 2>&1; }

: > "$dir/pids"
quiet monmaptool --create --fsid "$fsid" --addv a "[v1:127.0.0.1:$mon]" "$dir/monmap" || fail monmap
quiet ceph-mon -c "$conf" -i a --mkfs --monmap "$dir/monmap" || fail "mon mkfs"
start ceph-mon -c "$conf" -i a -f
osd=$(cat /proc/sys/kernel/random/uuid)
quiet timeout 60 ceph -c "$conf" --connect-timeout 30 osd new "$osd" 0 || fail "osd new"
quiet ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd" || fail "osd mkfs"
start ceph-osd -c "$conf" -i 0 -f
quiet timeout 60 ceph -c "$conf" --connect-timeout 30 osd crush add osd.0 1 root=default host=local || fail "crush add"
start radosgw -c "$conf" -n client.rgw -f

"$venv/bin/python" - "http://127.0.0.1:$port" "$dir/pids" <<'END' || fail "no answer on port $port"
import sys, time, urllib.error, urllib.request
until = time.monotonic() + 90
while time.monotonic() < until:
    try:
        urllib.request.urlopen(sys.argv[1], timeout=2)
        sys.exit(0)
    except urllib.error.HTTPError:
        sys.exit(0)
    except OSError:
        time.sleep(0.2)
sys.exit(1)
END

secret() { head -c 30 /dev/urandom | base64 | tr '+/' 'ab'; }
access=TOLLGATEADMIN0000001 key=$(secret) writer=TOLLGATEWRITER000001 writer_key=$(secret)
admin() { quiet timeout 60 radosgw-admin -c "$conf" -n client.rgw "$@"; }
admin user create --uid=admin --display-name=admin --access-key="$access" --secret-key="$key" || fail "user create"
admin user create --uid=writer --display-name=writer --access-key="$writer" --secret-key="$writer_key" || fail "user create"

ENDPOINT=http://127.0.0.1:$port ACCESS=$access KEY=$key WRITER=$writer WRITER_KEY=$writer_key BUCKETS=$buckets PLAIN=$plain DIR=$dir BEGAN=$began \
  "$venv/bin/python" "$here/buckets.py" || fail "buckets"
