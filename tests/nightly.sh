#!/usr/bin/env bash
# Tests that take too long for every change: nightly.sh PART [MINUTES]. Each part runs for at most MINUTES (default 60).
# Each run continues with other seeds, so stopping and starting again loses nothing; a failure prints the seed that
# repeats it.
#
#   spool-sim   the spool on the simulated disk, in rounds with new seeds
#   simulation  the whole engine in simulated time: a seed decides when back ends, disk, clocks and process fail; 10,000
#               seeds per round. Add a seed that finds a failure to crates/exporters/tests/engine/regressions.txt
#   truth       random sessions with known results, compared with every surface that shows runs; 20,000 seeds per round.
#               An hour or more in which fewer than 100,000 seeds ran is a failure
#   closed      an attacker's families: what errors quote, persons and machines, statements, sentences written as names,
#               names of spans and metrics, exemplars, resources, split chats, on agents' items and in any service, each
#               answered by a fresh processor; replicas and another account's flood of 20,000 services; 20,000 seeds per
#               round. No more than three words of what was said may be readable, and none of a chat
#   properties  the property tests of `cargo test` with other cases, one round per seed
#   mutations   objects of every kind of a vault, changed in every way, and 200 places of each kind flipped:
#               in a folder, then in a real S3 with Object Lock (versitygw, or radosgw with MUTATIONS_S3=radosgw), in
#               turn, one seed per round. A round that continues does not repeat the kinds that are done
#   chain       vaults written through crashes verify without findings, 1,000 per round
#   crash       SIGKILL under load, 100 cycles per round
#   faults      five minutes of overload, then full disks and a backlog; once
#   alerts      the cases of alerts, also those whose rules SigNoz has in another form; once
#   agents      budgets stop the real Codex and Gemini CLI; once (installs 500 MB)
#   backends    real back ends, all of them, each asked through its own API; once
#   sdks        the official SDKs, Go's and Java's too: sending, shutdown, restarts of the gateway; once
#   fleet       edge, workers and a Kafka cluster of three nodes: 50 SIGKILLs of workers, moves, brokers that die; once
#   attack      a fleet for ten minutes of failures, one after the other: workers, edges, brokers, back end, S3, volumes;
#               once
#   fleet-sim   three workers with the real engine behind a broker in memory, compared with one instance: kills, lost
#               volumes, moves, brokers away; 20,000 seeds per round
#   leak        the leak search over every recording
#   tables      `vault compact` over ten million lines, which DuckDB compares with the index; once; an interrupted run
#               continues
#   vault-speed the share of sealing, and puts by layout, on an idle machine; once
#   runs        100,000 live runs in 256 MiB; once
#   speed       figures that must not get worse (shares of the pipeline's time, tracking from 10 to 100,000 live runs,
#               the rate table's size), on an idle machine; once
#   instructions  instructions per byte of the redaction rules and per span of the whole pipeline, counted by valgrind
#               and so independent of load. A tenth (for spans 5 %) more than benches/redact.counts or
#               benches/pipeline.counts is a failure; TOLLGATE_UPDATE=1 stores the present counts. Slow texts are
#               reported relative to logs. Once
#   whole       processor time per span of gateway, sender and back end as processes, with the limits of
#               benches/whole.rs, on an idle machine; once
#   release     the production build: its size, start and idle memory against their bounds, then demo, faults and crash
#               on it; once
#   reproducible  the release, built twice in different folders and settings, is the same byte for byte; goes on after an interruption
#   fips        all tests with the FIPS module of AWS-LC; once
#   image       all steps of the Dockerfile, with the build, and a run of its result without a container engine; once
#   advisories  `cargo deny`: licences, bans and sources, then Cargo.lock against the RustSec database. Needs the network;
#               once
#   book        mdBook builds docs/, and every link of the result leads somewhere; once
#   alone       each crate and its tests compile without the others, whose features cargo would join; once
#   rules       the sets of tests/peers/rules are those of before, counted as `redact --score` does, and something of each
#               class is found; prints the figures. Once
#   fuzz        the targets of tests/fuzz in turn, ten minutes each (or FUZZ_SECONDS). The corpus is kept under
#               target/fuzz-corpus, inputs that made a target fail under target/fuzz-found
set -euo pipefail
cd "$(dirname "$0")/.."
# the simulations make workers panic on purpose
export RUST_BACKTRACE=0
part=${1:?usage: nightly.sh spool-sim|simulation|truth|closed|properties|mutations|chain|crash|faults|fleet|attack|fleet-sim|alerts|agents|backends|sdks|leak|tables|vault-speed|runs|speed|whole|instructions|release|reproducible|fips|image|advisories|book|alone|rules|fuzz [MINUTES]}
minutes=${2:-60}
end=$(($(date +%s) + minutes * 60))
left() { echo $((end - $(date +%s))); }

# At night, peers run the production binary.
released() {
  local features=()
  case $part in attack | fleet) features=(--features kafka) ;; esac
  cargo build --release --locked --bin tollgate "${features[@]}" >&2
  export TOLLGATE_BIN=$PWD/target/release/tollgate
}
case $part in crash | faults | fleet | attack | alerts | agents | backends | sdks | leak | rules | tables | release) released ;; esac

# rounds STEP COMMAND…: repeats the command until the time is up. TOLLGATE_SEED continues where the last night stopped;
# `count` is the number of completed rounds.
count=0
rounds() {
  local step=$1
  shift
  local mark=target/nightly/$part.seed
  mkdir -p target/nightly
  local seed
  seed=$(cat "$mark" 2>/dev/null || echo 1)
  while [ "$(left)" -gt 0 ]; do
    TOLLGATE_SEED=$seed timeout "$(($(left) + 60))" "$@" || {
      code=$?
      [ $code = 124 ] && break
      echo "nightly: $part: failed with TOLLGATE_SEED=$seed" >&2
      exit 1
    }
    seed=$((seed + step)) count=$((count + 1))
    echo "$seed" > "$mark"
  done
  echo "nightly: $part: $count rounds, next seed $seed"
}

case $part in
  spool-sim) TOLLGATE_SEEDS=2000 rounds 2000 cargo test --locked -p pipeline --lib spool::tests::simulation::seeds -- --nocapture ;;
  simulation) TOLLGATE_SEEDS=10000 rounds 10000 bash -c 'CARGO_PROFILE_RELEASE_LTO=off cargo test --release --locked -p exporters --test engine simulation::every -- --nocapture' ;;
  truth)
    export CARGO_PROFILE_RELEASE_LTO=off TOLLGATE_SEEDS=20000
    # the first build takes minutes, which do not count as time of the sessions
    cargo test --release --locked -p tracker --lib --no-run
    end=$(($(date +%s) + minutes * 60))
    # without the check, a renamed test would pass because no test runs
    rounds "$TOLLGATE_SEEDS" bash -c 'cargo test --release --locked -p tracker --lib tests::truth::every_surface_tells_the_truth -- --exact --nocapture | tee /dev/stderr | grep "^test result: ok. 1 passed" >/dev/null'
    required=100000 ran=$((count * TOLLGATE_SEEDS))
    if [ "$minutes" -ge 60 ] && [ "$ran" -lt "$required" ]; then
      echo "nightly: truth: failed: $ran seeds in $minutes minutes, at least $required are required" >&2
      exit 1
    fi ;;
  fleet) bash tests/peers/run.sh fleet --kills 50 ;;
  attack) bash tests/peers/run.sh attack --minutes 10 ;;
  fleet-sim)
    export CARGO_PROFILE_RELEASE_LTO=off TOLLGATE_SEEDS=20000
    # the first build takes minutes, which do not count as time of the seeds
    cargo test --release --locked -p receivers --test fleet --no-run
    end=$(($(date +%s) + minutes * 60))
    # two tests share the seeds; a renamed one would not run, and so not fail
    rounds "$TOLLGATE_SEEDS" bash -c 'cargo test --release --locked -p receivers --test fleet -- equals_one_instance --nocapture | tee /dev/stderr | grep "^test result: ok. 2 passed" >/dev/null' ;;
  closed) TOLLGATE_SEEDS=20000 rounds 20000 cargo test --locked -p processors --lib -- process::chat process::closed ;;
  properties) rounds 1 bash -c 'PROPTEST_RNG_SEED=$TOLLGATE_SEED cargo test --locked --workspace --lib' ;;
  mutations)
    export TOLLGATE_PLACES=200 TOLLGATE_OBJECTS=1000000
    server=${MUTATIONS_S3:-versitygw} folder=$PWD/target/nightly/mutations-s3
    mkdir -p target/nightly
    # the first builds take minutes, which do not count as time of the suite
    cargo test --locked -p audit --lib --no-run
    TOLLGATE_S3=$(tests/peers/"$server"/run.sh --dir "$folder" | tail -1)
    export TOLLGATE_S3
    trap 'tests/peers/radosgw/stop.sh "$folder" >&2' EXIT
    end=$(($(date +%s) + minutes * 60))
    while [ "$(left)" -gt 0 ]; do
      for ground in directory s3; do
        mark=$PWD/target/nightly/mutations-$ground
        seed=$(cat "$mark.seed" 2>/dev/null || echo 1) code=0 began=$(date +%s)
        TOLLGATE_GROUND=$ground TOLLGATE_DONE=$mark.done TOLLGATE_SEED=$seed timeout "$(($(left) > 1 ? $(left) : 1))" \
          cargo test --locked -p audit --lib verify::tests::mutations -- --nocapture || code=$?
        case $code in
          0) echo "nightly: mutations: $ground: seed $seed, $(($(date +%s) - began)) s" ;;
          124) echo "nightly: mutations: $ground: time is up; the next run goes on with seed $seed"; break ;;
          *) echo "nightly: mutations: failed with TOLLGATE_GROUND=$ground TOLLGATE_SEED=$seed TOLLGATE_PLACES=200 TOLLGATE_OBJECTS=1000000" >&2; exit 1 ;;
        esac
        echo $((seed + 1)) > "$mark.seed"
        rm -f "$mark.done"
      done
    done ;;
  chain) TOLLGATE_CHAIN_RUNS=1000 rounds 1000 cargo test --locked -p audit --lib verify::tests::clean ;;
  crash) rounds 1 bash -c 'tests/peers/run.sh crash --cycles 100 --seed "$TOLLGATE_SEED"' ;;
  faults)
    tests/peers/run.sh faults storm --overload 300
    tests/peers/run.sh faults disk flat ;;
  alerts)
    timeout "$((minutes * 60))" tests/peers/run.sh alerts --signoz || { code=$?; echo "nightly: alerts: failed, or out of time ($code)" >&2; exit "$code"; } ;;
  agents | backends) timeout "$((minutes * 60))" bash tests/peers/run.sh "$part" ;;
  sdks)
    timeout "$((minutes * 60))" tests/peers/run.sh sdk go java ;;
  leak) rounds 1 tests/peers/run.sh leak ;;
  tables)
    code=0
    timeout "$((minutes * 60))" tests/peers/run.sh tables --rows 10000000 --keep target/nightly/tables || code=$?
    [ $code != 124 ] || { echo "nightly: tables: time is up; the next run goes on"; code=0; }
    exit $code ;;
  vault-speed)
    code=0
    cargo bench --locked -p benches --bench pipeline -- gates || code=1
    cargo test --locked -p vault -p processors --lib -- --nocapture requests_per_million_spans || code=1
    exit $code ;;
  runs)
    said=$(CARGO_PROFILE_RELEASE_LTO=off timeout "$((minutes * 60))" cargo test --locked --release -p tracker --lib tests::life::a_hundred_thousand_runs -- --ignored --nocapture 2>&1) || { echo "$said" >&2; exit 1; }
    grep -E 'MiB|^test .*ok$' <<< "$said"
    grep -q '^test result: ok. 1 passed' <<< "$said" || { echo "nightly: runs: no such test" >&2; exit 1; } ;;
  release)
    "$TOLLGATE_BIN" demo --once
    for peer in figures faults crash; do tests/peers/run.sh "$peer"; done ;;
  reproducible)
    timeout "$((minutes * 60))" bash .ci/reproducible.sh || { code=$?; echo "nightly: reproducible: failed, or out of time ($code)" >&2; exit "$code"; } ;;
  fips)
    # the module's build needs CMake, Go, Perl and libclang
    for tool in cmake go perl; do command -v "$tool" >/dev/null || { echo "nightly: fips: $tool is missing" >&2; exit 1; }; done
    timeout "$((minutes * 60))" cargo test --locked --features fips,kafka --target-dir target/fips ;;
  image)
    timeout "$((minutes * 60))" python3 .ci/dockerfile.py || { code=$?; echo "nightly: image: failed, or out of time ($code)" >&2; exit "$code"; } ;;
  advisories)
    command -v cargo-deny >/dev/null || CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --debug --locked --version 0.20.2
    cargo deny --locked --features kafka check bans licenses sources
    timeout 120 cargo deny fetch db || { echo "nightly: advisories: NOT CHECKED: the RustSec database (github.com/RustSec/advisory-db) can't be fetched from here" >&2; exit 1; }
    cargo deny --locked --features kafka check advisories ;;
  book) # the version is fixed, so that a new mdBook changes no ids or links in an unrelated change
    command -v mdbook >/dev/null || CARGO_PROFILE_DEV_DEBUG=0 cargo install mdbook --debug --locked --no-default-features --version 0.5.4
    mdbook build
    python3 .ci/book_links.py target/book ;;
  alone)
    for crate in crates/*/; do cargo check --locked -p "$(basename "$crate")" --tests || { echo "nightly: alone: failed: cargo check -p $(basename "$crate") --tests" >&2; exit 1; }; done ;;
  rules)
    python3 tests/peers/rules/score.py check
    python3 tests/peers/rules/score.py ;;
  speed)
    code=0
    for bench in cost pipeline; do cargo bench --locked -p benches --bench "$bench" -- gates || code=1; done
    exit $code ;;
  instructions)
    command -v valgrind >/dev/null || bash tests/peers/apt_install.sh valgrind
    built() { # NAME: builds a bench and prints its path
      cargo bench --locked -p benches --bench "$1" --no-run 2>&1 | sed -n 's/.*(\([^)]*\/deps\/[^)]*\)).*/\1/p' | tail -1
    }
    bench=$(built pipeline)
    counted_spans() { # LOAD PASSES: prints the number of spans, then the instructions of so many passes
      valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" count "$1" "$2" 2>&1 | sed -n 's/^[0-9]*$/&/p; s/.*Collected : \([0-9]*\)/\1/p' | tr '\n' ' '
    }
    span_code=0 now=$(mktemp)
    for load in mixed single services; do
      # the first pass also allocates memory and compiles rules and vocabulary
      read -r spans one <<< "$(counted_spans "$load" 1)"
      read -r more three <<< "$(counted_spans "$load" 3)"
      cost=$(((three - one) / (more - spans)))
      before=$(sed -n "s/^$load: //p" benches/pipeline.counts 2>/dev/null || true)
      echo "$load: $cost" >> "$now"
      echo "nightly: instructions: $load: $cost a span, stored ${before:-none}"
      if [ -z "${TOLLGATE_UPDATE:-}" ] && { [ -z "$before" ] || [ $((cost * 100)) -gt $((before * 105)) ]; }; then
        echo "nightly: instructions: $load: MORE THAN 5 % ABOVE THE STORED COUNT"
        span_code=1
      fi
    done
    [ -z "${TOLLGATE_UPDATE:-}" ] || mv "$now" benches/pipeline.counts
    bench=$(built redact)
    counted() { # NAME PASSES: prints the bytes of the corpus, then the instructions of so many passes
      valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" count "$1" "$2" 2>&1 | sed -n 's/^[0-9]*$/&/p; s/.*Collected : \([0-9]*\)/\1/p' | tr '\n' ' '
    }
    stored=benches/redact.counts code=0 now=$(mktemp)
    for name in "agent JSON" code logs dense "values of 10 to 60 bytes"; do
      # the first pass also allocates the worker's memory and compiles the rules
      read -r bytes one <<< "$(counted "$name" 1)"
      read -r _ three <<< "$(counted "$name" 3)"
      cost=$(((three - one) * 10 / 2 / bytes))
      before=$(sed -n "s/^$name: //p" "$stored" 2>/dev/null || true)
      echo "$name: $cost" >> "$now"
      echo "nightly: instructions: $name: $((cost / 10)).$((cost % 10)) a byte, stored ${before:+$((before / 10)).$((before % 10))}"
      if [ -z "${TOLLGATE_UPDATE:-}" ] && { [ -z "$before" ] || [ $((cost * 10)) -gt $((before * 11)) ]; }; then code=1; fi
      if [ -n "$before" ] && [ $((cost * 10)) -lt $((before * 9)) ]; then echo "nightly: instructions: $name: a tenth less than stored: TOLLGATE_UPDATE=1 keeps it so"; fi
      [ "$name" != logs ] || logs=$cost
    done
    # texts made to be slow, relative to logs: the aim is at most three times as much
    for name in at dashes jwt colons cards phones pem sk passwords escapes percent greetings headers labels fields "Go fields" brackets "dfa cache thrash"; do
      read -r bytes one <<< "$(counted "$name" 1)"
      read -r _ three <<< "$(counted "$name" 3)"
      cost=$(((three - one) * 10 / 2 / bytes))
      echo "nightly: instructions: $name for ever: $((cost / 10)).$((cost % 10)) a byte, $((cost * 100 / logs)) % of logs"
    done
    [ -z "${TOLLGATE_UPDATE:-}" ] || mv "$now" "$stored"
    exit $((code | span_code)) ;;
  whole)
    cargo test --locked -p benches --lib # the shapes of their loads
    cargo build --release --locked --bin tollgate
    cargo bench --locked -p benches --bench whole -- --gates
    exit ;;
  fuzz)
    # the first build takes minutes, which do not count as time of the targets
    folder=$(tests/fuzz/build.sh)
    end=$(($(date +%s) + minutes * 60))
    read -ra targets <<< "$(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' tests/fuzz/Cargo.toml | tr '\n' ' ')"
    mark=target/nightly/fuzz.next
    mkdir -p target/nightly target/fuzz-found
    # ten minutes each; the next night continues with the next target
    each=${FUZZ_SECONDS:-600}
    while [ "$(left)" -ge 20 ]; do
      next=$(cat "$mark" 2>/dev/null || echo 0)
      target=${targets[$((next % ${#targets[@]}))]}
      corpus=$PWD/target/fuzz-corpus/$target
      mkdir -p "$corpus"
      [ "$target" != config ] || cp -n config/default.yaml config/examples/*.yaml tests/cases/otelcol.yaml "$corpus"
      share=$(($(left) < each ? $(left) : each))
      TOLLGATE_FUZZ_FOLDER=/dev/shm "$folder/$target" "$corpus" -artifact_prefix=target/fuzz-found/"$target"- \
        -max_total_time="$share" -rss_limit_mb=2048 -max_len=65536 -timeout=20 -print_final_stats=1 2> target/nightly/fuzz-"$target".log || {
        tail -40 target/nightly/fuzz-"$target".log >&2
        echo "nightly: fuzz: $target failed: $folder/$target target/fuzz-found/$target-… repeats it" >&2
        exit 1
      }
      echo $((next + 1)) > "$mark"
      runs=$(sed -n 's/^stat::number_of_executed_units: *//p' target/nightly/fuzz-"$target".log)
      covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' target/nightly/fuzz-"$target".log | tail -1)
      echo "nightly: fuzz: $target: $share s, $runs runs, $covered edges, $(find "$corpus" -type f | wc -l) inputs kept, 0 crashes"
    done ;;
  *) echo "nightly: no part $part" >&2; exit 2 ;;
esac
