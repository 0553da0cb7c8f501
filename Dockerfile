# syntax=docker/dockerfile:1
# Build: dependencies in a layer of their own, so that a change of ours rebuilds only ours.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# A crate of nothing with the same manifest compiles every dependency.
RUN mkdir -p src benches \
 && printf '//! deps\n' > src/lib.rs && printf '//! deps\nfn main() {}\n' > src/main.rs \
 && for bench in $(sed -n 's/^name = "\(.*\)" # bench$/\1/p' Cargo.toml); do printf 'fn main() {}\n' > "benches/$bench.rs"; done \
 && cargo build --release --locked --bin tollgate \
 && rm -rf src
COPY . .
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin tollgate
# Where the gateway may write: a volume takes its owner and mode from the folder that the image has there.
RUN mkdir /data && mkdir -m 0700 /data/tollgate

# Run: no shell, no package manager, not root. The image holds libc, libm and libgcc, which is all the binary links.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/tollgate /usr/local/bin/tollgate
COPY --from=build --chown=65532:65532 /data/ /var/lib/
USER 65532:65532
ENV TOLLGATE_DATA_DIR=/var/lib/tollgate
VOLUME ["/var/lib/tollgate"]
EXPOSE 4317 4318 8888 13133
ENTRYPOINT ["/usr/local/bin/tollgate"]
CMD ["run", "--config=/etc/tollgate/config.yaml"]
