#!/usr/bin/env bash
# apt_install.sh PACKAGE…: installs Debian packages, as root. Lanes of CI install side by side, and apt fails if another
# call holds its locks: calls of this script wait for each other, and its installation for somebody else's dpkg.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "apt_install.sh: this is not root: apt-get install $*" >&2; exit 1; }
exec 8> "${TMPDIR:-/tmp}/tollgate-apt.lock"
flock -w 900 8 || { echo "apt_install.sh: waited a quarter of an hour for another apt_install.sh" >&2; exit 1; }
apt-get update -q >&2
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends "$@" >&2
