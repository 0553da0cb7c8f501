#!/usr/bin/env bash
# What is too long for every change: nightly.sh PART, each at most MINUTES (default 60). Each run goes on with other seeds, so stopping and
# starting again loses nothing; a failure prints the seed that repeats it.
#
#   spool-sim   the spool on the simulated disk, round after round with new seeds
#   engine-sim  the engine driven by a seeded simulation
#   crash       SIGKILL under load, 100 cycles a round
#   leak        the leak search over every recording
#   speed       what may not become slower (shares of the pipeline's time, the rate table's size), on a quiet machine; once
#   fuzz        each target of tests/fuzz for an equal share of the time; its corpus is kept under target/fuzz-corpus
set -euo pipefail
cd "$(dirname "$0")/.."
# the simulations make workers panic on purpose
export RUST_BACKTRACE=0
part=${1:?usage: nightly.sh spool-sim|engine-sim|crash|leak|speed|fuzz [MINUTES]}
minutes=${2:-60}
end=$(($(date +%s) + minutes * 60))
left() { echo $((end - $(date +%s))); }

# rounds STEP COMMAND…: again and again until the time is up, TOLLGATE_SEED going on from where the last night stopped
rounds() {
  local step=$1
  shift
  local mark=target/nightly/$part.seed
  mkdir -p target/nightly
  local seed count=0
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
  spool-sim) TOLLGATE_SEEDS=2000 rounds 2000 cargo test --locked --lib spool::tests::simulation::seeds -- --nocapture ;;
  engine-sim) rounds 100 bash -c 'TOLLGATE_SIM_SEED=$TOLLGATE_SEED TOLLGATE_SIM_SEEDS=100 cargo test --locked --lib engine::tests::nothing_accepted' ;;
  crash) rounds 1 bash -c 'tests/peers/run.sh crash --cycles 100 --seed "$TOLLGATE_SEED"' ;;
  leak) rounds 1 tests/peers/run.sh leak ;;
  speed)
    code=0
    for bench in cost pipeline; do cargo bench --locked --bench "$bench" -- gates || code=1; done
    exit $code ;;
  fuzz)
    cargo +nightly fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
    read -ra targets <<< "$(cargo +nightly fuzz list --fuzz-dir tests/fuzz | tr '\n' ' ')"
    share=$(($(left) / ${#targets[@]}))
    for target in "${targets[@]}"; do
      corpus=$PWD/target/fuzz-corpus/$target
      mkdir -p "$corpus"
      cargo +nightly fuzz run -s none --fuzz-dir tests/fuzz "$target" "$corpus" -- -max_total_time="$share" -rss_limit_mb=2048
    done ;;
  *) echo "nightly: no part $part" >&2; exit 2 ;;
esac
