# syntax=docker/dockerfile:1
# Build: cargo's caches are in mounts, so that a change of our code rebuilds only the affected crates.
FROM rust:1.95-slim-bookworm AS build
# Not pinned: Debian keeps only the newest version of a package.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# `--build-arg FEATURES=kafka` for a fleet
ARG FEATURES
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin tollgate ${FEATURES:+--features "$FEATURES"} && cp target/release/tollgate /tollgate
# The folder that the gateway may write to: a volume takes its owner and mode from this folder of the image.
RUN mkdir /data && mkdir -m 0700 /data/tollgate

# Run: no shell, no package manager, not root. The image has what the binary needs: libc, libm and libgcc, and the CA
# certificates.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /tollgate /usr/local/bin/tollgate
COPY --from=build --chown=65532:65532 /data/ /var/lib/
USER 65532:65532
ENV TOLLGATE_DATA_DIR=/var/lib/tollgate
VOLUME ["/var/lib/tollgate"]
EXPOSE 4317 4318 8888 13133
ENTRYPOINT ["/usr/local/bin/tollgate"]
CMD ["run", "--config=/etc/tollgate/config.yaml"]
