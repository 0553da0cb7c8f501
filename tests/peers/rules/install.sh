#!/usr/bin/env bash
# The public test data that sets.py labels, below ${PEERS_CACHE:-target/peers}/rules, and prints that folder: source
# packages of PyPI (sources.txt), unpacked, and the examples of gitleaks' rules, printed by its own generator.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${PEERS_CACHE:-$here/../../../target/peers}/rules
mkdir -p "$cache"
cd "$cache"
module=github.com/zricethezav/gitleaks/v8@v8.30.1 sum=h1:PmEvCfVI7ti9dV3s5aMZUY7sS2GxRvG3yzih7E+cS3w=
inputs=$(cat "$here"/{install.sh,sources.txt,validate.go,regen.go} | sha256sum)
if [ "$inputs" != "$(cat installed 2>/dev/null)" ]; then
  rm -rf packages gitleaks go installed
  mkdir -p packages/archives
  names=$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$here/sources.txt" | paste -sd,)
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --no-binary "$names" \
    --dest packages/archives -r "$here/sources.txt" >&2
  for archive in packages/archives/*.tar.gz; do tar xzf "$archive" -C packages; done
  found=$(go mod download -json "$module" | python3 -c 'import json, sys; m = json.load(sys.stdin); print(m["Sum"], m["Dir"])')
  [ "${found%% *}" = "$sum" ] || { echo "install.sh: $module has another sum: ${found%% *}" >&2; exit 1; }
  cp -r "${found#* }" gitleaks
  chmod -R u+w gitleaks
  cp "$here/validate.go" gitleaks/cmd/generate/config/utils/
  cp "$here/regen.go" gitleaks/cmd/generate/secrets/
  # code without secrets, of the versions that gitleaks pins
  mkdir -p go
  for used in spf13/cobra spf13/viper rs/zerolog; do
    cp -r "$(cd gitleaks && go mod download -json "github.com/$used" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')" "go/${used#*/}"
  done
  chmod -R u+w go
  # its map of templates has no order, the file has
  (cd gitleaks/cmd/generate/config && go run . /dev/null | LC_ALL=C sort) > gitleaks.jsonl
  echo "$inputs" > installed
fi
pwd
