#!/usr/bin/env bash
# Real back ends from package registries, with pinned versions, under ${PEERS_CACHE:-target/peers}/backends:
#
#   install.sh NAME…     jaeger prometheus victoriametrics collector otelcol
#
# A back end that is already there in the pinned version is left alone. The first error ends the script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache/backends"
cache=$(cd "$cache" && pwd)
out=$cache/backends
exec 8> "$out/.install.lock"
flock 8

# current NAME VERSION: whether this version is installed
current() { [ "$(cat "$out/$1.version" 2>/dev/null)" = "$2" ]; }
need() { command -v "$1" >/dev/null || { echo "backends: $1 is missing: $2" >&2; exit 1; }; }

# build COMMAND…: Go's own folders go away afterwards, because both servers together would leave 3 GB there
build() {
  need go "install Go 1.26"
  local scratch code=0
  scratch=$(mktemp -d "$cache/go-build-XXXXXX")
  GOPATH=$scratch/path GOCACHE=$scratch/cache GOFLAGS=-modcacherw GOTOOLCHAIN=local CGO_ENABLED=0 "$@" >&2 || code=$?
  rm -rf "$scratch"
  return "$code"
}

# A module that replaces another can't be installed by name, so a module of ours repeats the replacement.
jaeger() { # v1 has one binary with storage in memory and the query API
  current jaeger 1.76.0 && return
  build go build -C "$here/jaeger" -ldflags "-s -w" -o "$out/jaeger" github.com/jaegertracing/jaeger/cmd/all-in-one
  echo 1.76.0 > "$out/jaeger.version"
}
prometheus() { # Debian's build lacks the OTLP receiver; discovery of cloud machines is left out, as no part uses it
  current prometheus 0.316.0 && return
  GOBIN=$out build go install -tags remove_all_sd -ldflags "-s -w" github.com/prometheus/prometheus/cmd/prometheus@v0.316.0
  echo 0.316.0 > "$out/prometheus.version"
}
victoriametrics() { # Debian 12 has one from before OTLP, so the package of Debian 13 is unpacked (it needs only libc 2.34)
  current victoriametrics 1.112.0 && return
  local apt=$out/apt
  rm -rf "$apt"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/root"
  printf 'Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\nComponents: main\nSigned-By: %s\n' \
    /usr/share/keyrings/debian-archive-keyring.gpg > "$apt/trixie.sources"
  local own=(-q -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt" -o "Dir::Etc::sourcelist=$apt/trixie.sources"
    -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
  apt-get "${own[@]}" update >&2
  (cd "$apt" && apt-get "${own[@]}" download victoria-metrics/trixie >&2)
  dpkg -x "$apt"/victoria-metrics_1.112.0*.deb "$apt/root"
  mv "$apt/root/usr/bin/victoria-metrics" "$out/victoria-metrics"
  rm -rf "$apt"
  echo 1.112.0 > "$out/victoriametrics.version"
}
collector() { # the one that `just bench whole` compares with, whose script writes to target/compared
  [ -x "$out/collector" ] && return
  local built=$here/../../../target/compared/collector/collector
  # a cache that another checkout filled has it beside itself
  if [ -x "$cache/../compared/collector/collector" ]; then built=$cache/../compared/collector/collector; else
    need go "install Go 1.26"
    "$here/../../../benches/compared.sh" collector >&2
  fi
  cp "$built" "$out/collector"
}
otelcol() { # the Collector as a client
  current otelcol 0.141.0 && return
  build go build -C "$here/otelcol" -trimpath -ldflags "-s -w" -o "$out/otelcol" .
  echo 0.141.0 > "$out/otelcol.version"
}

for name in "$@"; do
  case $name in
    jaeger | prometheus | victoriametrics | collector | otelcol) "$name" ;;
    *) echo "backends: no install script for $name" >&2; exit 2 ;;
  esac
done
