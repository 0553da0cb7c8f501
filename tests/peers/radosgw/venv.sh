#!/usr/bin/env bash
# venv.sh CACHE: a venv with boto3 under CACHE/venv-s3, for the real S3 servers.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=$1/venv-s3
cmp -s "$here/requirements.txt" "$venv/requirements.installed" && exit
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
cp "$here/requirements.txt" "$venv/requirements.installed"
