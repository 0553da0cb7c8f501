# `.ci/dockerfile.py` runs these steps where there is no container engine, and checks that each base image has a digest.
# docs/how-to/release.md says how to renew the digests. BuildKit (Docker 23 or later) builds it.
# Build: cargo's caches are in mounts, so that a change of our code rebuilds only the affected crates.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
# Not pinned: Debian keeps only the newest version of a package.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev python3 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# `--build-arg FEATURES=kafka` for a fleet
ARG FEATURES
# `--build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)`: the date of the SBOM, and of the image's files
ARG SOURCE_DATE_EPOCH=0
COPY . .
# bytes that depend on neither folder nor time
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    bash .ci/build_release.sh /tollgate ${FEATURES:+--features "$FEATURES"}
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    python3 .ci/sbom.py ${FEATURES:+--features "$FEATURES"} > /tollgate.cdx.json
# The folder that the gateway may write to: a volume takes its owner and mode from this folder of the image.
RUN mkdir /data && mkdir -m 0700 /data/tollgate

# Run: no shell, no package manager, not root. The image has what the binary needs: libc, libm and libgcc, and the CA
# certificates.
FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f
COPY --from=build /tollgate /usr/local/bin/tollgate
COPY --from=build /tollgate.cdx.json /usr/share/doc/tollgate/tollgate.cdx.json
COPY --from=build --chown=65532:65532 /data/ /var/lib/
USER 65532:65532
ENV TOLLGATE_DATA_DIR=/var/lib/tollgate
VOLUME ["/var/lib/tollgate"]
EXPOSE 4317 4318 8888 13133
ENTRYPOINT ["/usr/local/bin/tollgate"]
CMD ["run", "--config=/etc/tollgate/config.yaml"]
