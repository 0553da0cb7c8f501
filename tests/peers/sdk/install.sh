#!/usr/bin/env bash
# The Python venv (also for sink.py --grpc and recordings/*) and the JavaScript modules, under ${PEERS_CACHE:-target/peers}.
# Does nothing when what is installed is what the pin files say. `install.sh python`, `js` or `go` for one of them;
# Go (1.26, which it finds or fails) only if it is named.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
what=${1:-all}

if [ "$what" = all ] || [ "$what" = python ]; then
  venv=$cache/venv
  if ! cmp -s "$here/requirements.txt" "$venv/requirements.installed"; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$venv/requirements.installed"
  fi
fi
if [ "$what" = all ] || [ "$what" = js ]; then
  js=$cache/js
  mkdir -p "$js"
  if ! cmp -s "$here/package.json" "$js/package.installed"; then
    cp "$here/package.json" "$js/package.json"
    (cd "$js" && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error >&2)
    cp "$here/package.json" "$js/package.installed"
  fi
  # Node finds modules next to the program only
  cp "$here/send.mjs" "$js/send.mjs"
fi
if [ "$what" = go ]; then
  (cd "$here/go" && GOPATH=$cache/gopath GOCACHE=$cache/gocache GOFLAGS=-modcacherw GOTOOLCHAIN=local go build -o "$cache/go/send" . >&2)
fi
echo "$cache"
