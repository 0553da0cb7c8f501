# Commands by name; `.ci/run` calls the same ones. They need only the toolchain unless the comment says otherwise.

# All steps of CI.
ci:
    bash .ci/run

# The tests that need no server and no network.
test:
    cargo test

lint:
    cargo fmt --check
    cargo clippy --all-targets --features kafka -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# The documentation as a book, target/book, and a check of its links (needs mdbook).
book:
    mdbook build
    python3 .ci/book_links.py target/book

# docs/security is true: every crate and every threat has its row, every named test exists.
security:
    python3 .ci/security.py

# Licences, banned crates, duplicates of the network stack.
deny:
    cargo deny --features kafka check bans licenses sources

# Real peers by name: sdk, claude, radosgw, crash, leak (installs its programs under target/peers).
peers PART:
    bash tests/peers/run.sh {{PART}}

# A fleet on one machine: three brokers, an edge, two workers; plays recordings and kills a worker (Java 17, Maven).
fleet:
    cargo build --features kafka
    bash tests/peers/run.sh fleet view

# Resumable parts, each under an hour: spool-sim, simulation, truth, closed, properties, mutations, crash, faults,
# fleet-sim, leak, fuzz. Other parts: `fleet` (a real Kafka cluster), `backends` (all back ends that can run here),
# `sdks` (the official SDKs, Go's and Java's too), `alerts` (SigNoz's form of the rules too; starts anew each time),
# `release` (the production build), `reproducible` (two builds are equal), `fips` (all tests with the FIPS module),
# `image` (the Dockerfile's steps without an engine), `advisories` (`cargo deny`; needs the network), `book`, `speed`
# (the limits of the benches), `whole` (a gateway's processor time per span), `instructions` (instructions per byte of
# the redaction rules and per span),
# `alone` (each crate compiles without the others).
# Runs one slow part; tests/nightly.sh explains each.
nightly PART:
    bash tests/nightly.sh {{PART}}

# `just release --dry-run`: packages, SBOM and signed checksums below target/release-plan (docs/how-to/release.md).
release *ARGS:
    bash .ci/release.sh {{ARGS}}

# Regenerates config/semconv.yaml from registries of the semantic conventions (config/semconv.py), then dialects.json.
semconv VERSIONS +FILES:
    python3 config/semconv.py "{{VERSIONS}}" {{FILES}} > target/semconv.yaml && mv target/semconv.yaml config/semconv.yaml
    TOLLGATE_UPDATE=1 cargo test -p genai --lib

# Lays a public price list (litellm or genai-prices; tests/peers/prices/install.sh fetches both) over
# config/rates/rates.yaml, shows the changes as a refresh sees them, and makes the built-in table from it.
rates FORMAT LIST:
    python3 config/rates_import.py {{FORMAT}} "{{LIST}}" config/rates/rates.yaml
    -cargo run --quiet -- rates diff builtin config/rates/rates.yaml
    TOLLGATE_UPDATE=1 cargo test -p rates builtin_is_the_yaml_file

# What each redaction rule brings, on sets that no rule was tuned on: `just rules-score --ablate`. Says more with --help.
rules-score *ARGS:
    python3 tests/peers/rules/score.py {{ARGS}}

# `just bench whole`: the production build's processor time per span, a processor more in each row (benches/whole.rs has
# the options). Anything else goes to cargo: `just bench --bench redact`.
bench *ARGS:
    #!/usr/bin/env bash
    set -euo pipefail
    set -- {{ARGS}}
    if [ "${1:-}" = whole ]; then
        cargo build --release --locked --bin tollgate
        exec cargo bench --locked -p benches --bench whole -- "${@:2}"
    fi
    exec cargo bench -p benches "$@"
