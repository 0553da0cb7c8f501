#!/usr/bin/env bash
# Installs what FOLDER/package.json pins under ${PEERS_CACHE:-target/peers}/NAME (of the folder); nothing to do when it is there.
# Install scripts do not run. Programs of the folder (*.mjs, *.cjs) go beside their modules: Node finds modules there only.
set -euo pipefail
folder=$(cd "$1" && pwd)
to=${PEERS_CACHE:-$(dirname "$0")/../../target/peers}/$(basename "$folder")
mkdir -p "$to"
if ! cmp -s "$folder/package.json" "$to/package.installed"; then
  cp "$folder/package.json" "$to/package.json"
  (cd "$to" && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --legacy-peer-deps --loglevel=error >&2)
  cp "$folder/package.json" "$to/package.installed"
fi
find "$folder" -maxdepth 1 \( -name '*.mjs' -o -name '*.cjs' \) -exec cp {} "$to" \;
(cd "$to" && pwd)
