#!/usr/bin/env bash
# helm and kustomize (Go modules), the schemas of the Gateway API (a Go module's files), and hadolint with the schemas of
# Kubernetes, KEDA, the Prometheus operator and compose (a Python venv of 230 MB), below $PEERS_CACHE. Does nothing when
# what is installed is what the pins say.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}
mkdir -p "$cache/deploy/bin"
cache=$(cd "$cache" && pwd)
command -v go >/dev/null || { echo "deploy/install.sh: Go 1.26 is missing" >&2; exit 1; }

go_tool() { # NAME MODULE VERSION
  local pin=$cache/deploy/$1.installed
  [ -x "$cache/deploy/bin/$1" ] && [ "$(cat "$pin" 2>/dev/null)" = "$2@$3" ] && return
  GOBIN=$cache/deploy/bin GOFLAGS=-modcacherw GOTOOLCHAIN=local go install "$2@$3" >&2
  echo "$2@$3" > "$pin"
}
go_tool helm helm.sh/helm/v3/cmd/helm v3.22.0
go_tool kustomize sigs.k8s.io/kustomize/kustomize/v5 v5.8.1

gateway_api=sigs.k8s.io/gateway-api@v1.4.1
if [ "$(cat "$cache/deploy/gateway-api.installed" 2>/dev/null)" != "$gateway_api" ]; then
  folder=$(go mod download -json "$gateway_api" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  install -D -m 0644 -t "$cache/deploy/gateway-api" "$folder"/config/crd/standard/gateway.networking.k8s.io_{gateways,httproutes}.yaml
  echo "$gateway_api" > "$cache/deploy/gateway-api.installed"
fi

PEERS_CACHE=$cache "$here/../pip_install.sh" venv-deploy "$here/requirements.txt" >&2
