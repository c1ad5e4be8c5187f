# The images of both agents and of the orchestrator, one target each:
#
#   docker build --target sensor-agent --tag stavily/sensor-agent .
#
# Any builder of Docker 20.10 or newer will do. docs/deploy-containers.md tells how to run them.
ARG GO_IMAGE=golang:1.26-trixie
ARG BASE_IMAGE=debian:trixie-slim

# The programs: the same bytes as `make build` of the same version gives with the same Go.
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY . .
ARG VERSION=dev
RUN make --no-print-directory build "VERSION=${VERSION}"

# A user, and a directory of theirs where an agent finds what it was given: /app/agent-<id>.
FROM ${BASE_IMAGE} AS base
RUN groupadd --gid 1000 stavily && \
    useradd --uid 1000 --gid 1000 --home-dir /app --create-home --skel /nonexistent --shell /usr/sbin/nologin stavily
USER 1000:1000
WORKDIR /app

# Plugins are Python: python3-venv is for those that require packages. curl is for people's own health checks.
FROM base AS python
USER 0:0
RUN apt-get update -qq && \
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates curl python3 python3-venv && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/cache/ldconfig/aux-cache /var/log/*
USER 1000:1000

FROM python AS sensor-agent
COPY --from=build /src/plugins/sensors /usr/share/stavily/plugins
COPY --from=build /src/bin/sensor-agent /usr/local/bin/sensor-agent
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=10s --retries=3 CMD ["/usr/local/bin/sensor-agent", "health"]
ENTRYPOINT ["/usr/local/bin/sensor-agent"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stavily sensor agent" \
      org.opencontainers.image.description="Watches this host with Python plugins and reports what they notice" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/stavily/agents" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM python AS action-agent
COPY --from=build /src/plugins/actions /src/plugins/outputs /usr/share/stavily/plugins/
COPY --from=build /src/bin/action-agent /usr/local/bin/action-agent
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=10s --retries=3 CMD ["/usr/local/bin/action-agent", "health"]
ENTRYPOINT ["/usr/local/bin/action-agent"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stavily action agent" \
      org.opencontainers.image.description="Executes what workflows decide with Python plugins, confined and watched" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/stavily/agents" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The last, so that it is what a build without --target makes. It executes no plugins and has no Python.
FROM base AS server
USER 0:0
RUN install -d -o 1000 -g 1000 -m 0700 /var/lib/stavily/server
USER 1000:1000
COPY --from=build /src/bin/stavily /usr/local/bin/stavily
EXPOSE 8443
HEALTHCHECK --interval=10s --timeout=10s --retries=3 CMD ["/usr/local/bin/stavily", "tokens", "list"]
ENTRYPOINT ["/usr/local/bin/stavily"]
CMD ["server"]
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Stavily orchestrator" \
      org.opencontainers.image.description="Decides by workflows what agents do about what agents notice" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/stavily/agents" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
