# Commands by name; `.ci/run` calls the same ones. Nothing here needs more than the toolchain unless it says so.

# Everything that CI runs.
ci:
    bash .ci/run

# The tests that need no server and no network.
test:
    cargo test

lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# Licences, banned crates, duplicates of the network stack.
deny:
    cargo deny check bans licenses sources

# Real peers by name: sdk, claude, radosgw, crash, leak (installs what it needs under target/peers).
peers PART:
    bash tests/peers/run.sh {{PART}}

# Slow runs, each under an hour, resumable: spool-sim, simulation, truth, closed, properties, mutations, crash, faults, leak, fuzz. `alerts`: those
# of SigNoz too; begins anew each time. `release`: the production build. `speed`: the limits of the benches. `instructions`:
# what the redaction rules cost a byte, counted. `alone`: each crate compiles without the others.
nightly PART:
    bash tests/nightly.sh {{PART}}

# Makes config/semconv.yaml anew from a resolved registry of the semantic conventions, then dialects.json.
semconv FILE VERSION:
    python3 config/semconv.py {{FILE}} "{{VERSION}}" > target/semconv.yaml && mv target/semconv.yaml config/semconv.yaml
    TOLLGATE_UPDATE=1 cargo test -p genai --lib

bench *ARGS:
    cargo bench -p benches {{ARGS}}
