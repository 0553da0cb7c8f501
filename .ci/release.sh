#!/usr/bin/env bash
# release.sh OPTIONS: installs what release.py needs (Debian's packages, a venv below target) and runs it.
set -euo pipefail
cd "$(dirname "$0")/.."
# The trial of the package reads this machine's dpkg database: meanwhile no part of tests/peers installs.
lock=${PEERS_CACHE:-target/peers}/.install.lock
mkdir -p "$(dirname "$lock")"
exec 9> "$lock"
flock -w 900 9 || { echo "release.sh: a part of tests/peers has been installing for a quarter of an hour" >&2; exit 1; }
missing=()
for one in rpmbuild:rpm lintian:lintian cpio:cpio man:man-db strip:binutils ssh-keygen:openssh-client \
  systemd-analyze:systemd; do
  command -v "${one%%:*}" >/dev/null || missing+=("${one##*:}")
done
[ ${#missing[@]} = 0 ] || bash tests/peers/apt_install.sh "${missing[@]}"
venv=target/venv-release pin='cyclonedx-python-lib[json-validation]==11.12.0'
if [ "$(cat $venv/installed 2>/dev/null)" != "$pin" ]; then
  python3 -m venv $venv
  $venv/bin/pip install --quiet --disable-pip-version-check "$pin" >&2
  echo "$pin" > $venv/installed
fi
exec $venv/bin/python .ci/release.py "$@"
