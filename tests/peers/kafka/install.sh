#!/usr/bin/env bash
# Apache Kafka from Maven's artifacts, below $PEERS_CACHE/kafka/libs: 46 jars, 43 MB. Needs a JDK (17 or later) and Maven.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${PEERS_CACHE:?}/kafka
command -v java >/dev/null || { echo "kafka/install.sh: Java 17 is missing: apt-get install default-jre-headless" >&2; exit 1; }
command -v mvn >/dev/null || { echo "kafka/install.sh: Maven is missing: apt-get install maven" >&2; exit 1; }
cmp -s "$here/pom.xml" "$target/pom.xml" && exit 0
rm -rf "$target"
mkdir -p "$target"
mvn --quiet --batch-mode --file "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$target/libs" >&2
cp "$here/pom.xml" "$target/pom.xml"
