#!/usr/bin/env bash
# A proof against real peers: run.sh PART. The parts are parts/*.py; README.md tells what each proves.
# The binary is $TOLLGATE_BIN (default target/debug/tollgate). What a part needs is installed under target/peers; a part that can't be
# installed fails, it is never skipped. Ports are the system's; what is started ends with the part. Exit 0 only if every check held.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
part=${1:?usage: run.sh PART: $(cd "$here/parts" && echo *.py | sed "s/\.py//g")}
shift
export PEERS_CACHE=${PEERS_CACHE:-$repo/target/peers}
export TOLLGATE_BIN=${TOLLGATE_BIN:-$repo/target/debug/tollgate}
[ -f "$here/parts/$part.py" ] || { echo "run.sh: no part $part" >&2; exit 2; }
[ -x "$TOLLGATE_BIN" ] || { echo "run.sh: no binary $TOLLGATE_BIN: cargo build, or set TOLLGATE_BIN" >&2; exit 1; }

debian() { # COMMAND PACKAGE: from Debian, if it is not there
  command -v "$1" >/dev/null || bash "$here/apt_install.sh" "$2"
}
# Parts may run side by side: one of them installs at a time.
mkdir -p "$PEERS_CACHE"
exec 9> "$PEERS_CACHE/.install.lock"
flock -w 900 9 || { echo "run.sh: another part has been installing for a quarter of an hour" >&2; exit 1; }
debian age age
debian zstd zstd
case $part in alerts | backends | boards) debian prometheus prometheus ;; esac
[ "$part" != upgrade ] || debian faketime faketime
case $part in attack | faults) debian mkfs.ext4 e2fsprogs ;; esac
[ "$part" != browser ] || debian chromium chromium
case $part in attack | fleet) debian java default-jre-headless; debian mvn maven ;; esac
case "$part $*" in refusals* | "sdk "*java*) debian javac default-jdk-headless; debian mvn maven ;; esac
[ "$part" != deploy ] || debian systemd-analyze systemd
case $part in oidc) command -v go >/dev/null || { echo "run.sh: Go 1.26 is missing" >&2; exit 1; } ;; esac
case $part in
  sdk)
    "$here/sdk/install.sh" >/dev/null
    for sdk in "$@"; do "$here/sdk/install.sh" "$sdk" >/dev/null; done
    ;;
  refusals)
    "$here/sdk/install.sh" >/dev/null
    for sdk in go java "$@"; do "$here/sdk/install.sh" "$sdk" >/dev/null; done
    ;;
  deploy) "$here/deploy/install.sh" ;;
  *) "$here/sdk/install.sh" python >/dev/null ;;
esac
case $part in
  agents)
    "$here/npm_install.sh" "$here/codex" >/dev/null
    "$here/npm_install.sh" "$here/gemini_cli" >/dev/null
    ;;
  claude) "$here/npm_install.sh" "$here/claude_code" >/dev/null ;;
  attack | fleet) "$here/kafka/install.sh" ;;
  oidc) "$here/oidc/install.sh" ;;
  presidio) "$here/presidio/install.sh" >/dev/null ;;
  budgets)
    "$here/pip_install.sh" venv-budgets "$here/budgets/programs.txt" --no-deps --require-hashes >/dev/null
    "$here/pip_install.sh" venv-budgets "$here/budgets/requirements.txt" --no-deps >/dev/null
    ;;
  mcp)
    "$here/pip_install.sh" venv-mcp "$here/mcp_clients/sdk.txt" --no-deps >/dev/null
    "$here/pip_install.sh" venv-mcp-agent "$here/mcp_clients/agent.txt" --no-deps >/dev/null
    "$here/npm_install.sh" "$here/claude_code" >/dev/null
    ;;
  bill) "$here/pip_install.sh" venv-bill "$here/bill/requirements.txt" --no-deps >/dev/null ;;
  tables) "$here/pip_install.sh" tables/venv "$here/tables/requirements.txt" --no-deps >/dev/null ;;
  alerts | backends | boards)
    "$here/pip_install.sh" venv "$here/promql/requirements.txt" >/dev/null
    [ "$part" != boards ] || "$here/npm_install.sh" "$here/boards" >/dev/null
    ;;
  audit)
    debian jq jq
    "$here/pip_install.sh" venv "$here/promql/requirements.txt" >/dev/null
    # the AWS command line, and a KMS beside it: moto without what its other services need
    if [ -n "${1:-}" ] && ! [ -x "$PEERS_CACHE/venv-aws/bin/aws" ]; then
      python3 -m venv "$PEERS_CACHE/venv-aws"
      "$PEERS_CACHE/venv-aws/bin/pip" install --quiet --no-compile --disable-pip-version-check awscli==1.46.2 >&2
    fi
    if [ "${1:-}" = --kms ] && ! [ -x "$PEERS_CACHE/venv-aws/bin/moto_server" ]; then
      "$PEERS_CACHE/venv-aws/bin/pip" install --quiet --no-compile --disable-pip-version-check moto==5.2.5 flask==3.1.2 flask-cors==6.0.1 >&2
    fi
    ;;
  page)
    debian chromium chromium
    "$here/npm_install.sh" "$here/page" >/dev/null
    ;;
esac
# released by name: what an installation started may still hold the file
flock -u 9
exec 9>&-
python=$PEERS_CACHE/venv/bin/python
[ "$part" != deploy ] || python=$PEERS_CACHE/venv-deploy/bin/python
began=$(date +%s)
"$python" "$here/parts/$part.py" "$@"
echo "peers: $part: ok, $(($(date +%s) - began)) s"
