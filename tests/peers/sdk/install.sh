#!/usr/bin/env bash
# The Python venv (also for sink.py --grpc and recordings/*) and the JavaScript modules, under ${PEERS_CACHE:-target/peers}.
# Does nothing when what is installed is what the pin files say. `install.sh python`, `js`, `go` or `java` for one of
# them; the last two only if they are named. Go 1.26 and a JDK (17 or later) with Maven must be there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
what=${1:-all}
case $what in all | python | js | go | java) ;; *) echo "sdk/install.sh: no SDK $what" >&2; exit 2 ;; esac

if [ "$what" = all ] || [ "$what" = python ]; then PEERS_CACHE=$cache "$here/../pip_install.sh" venv "$here/requirements.txt" >&2; fi
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
  command -v go >/dev/null || { echo "sdk/install.sh: Go 1.26 is missing" >&2; exit 1; }
  (cd "$here/go" && GOPATH=$cache/gopath GOCACHE=$cache/gocache GOFLAGS=-modcacherw GOTOOLCHAIN=local go build -o "$cache/go/send" . >&2)
fi
if [ "$what" = java ]; then
  java=$cache/java
  for tool in javac mvn; do
    command -v "$tool" >/dev/null || { echo "sdk/install.sh: $tool is missing: apt-get install default-jdk-headless maven" >&2; exit 1; }
  done
  if ! cmp -s "$here/java/pom.xml" "$java/pom.installed"; then
    rm -rf "$java"
    mkdir -p "$java"
    mvn --quiet --batch-mode --file "$here/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$java/libs" >&2
    cp "$here/java/pom.xml" "$java/pom.installed"
  fi
  if ! cmp -s "$here/java/Send.java" "$java/Send.installed"; then
    javac -Xlint:all -Werror -cp "$java/libs/*" -d "$java/classes" "$here/java/Send.java" >&2
    cp "$here/java/Send.java" "$java/Send.installed"
  fi
fi
echo "$cache"
