# syntax=docker/dockerfile:1

# The image of the agent: one static binary and the CA certificates, no shell, no package manager.
#
#   docker build --build-arg VERSION=v0.1.0 --tag holdfast-dev/holdfast:v0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 ...

# The builder runs on the machine's own platform and cross-compiles: no emulation for other platforms.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src

# Dependencies first: they change less often than the code.
COPY go.mod go.sum ./
# Only tests use it, but go.mod names it.
COPY localcluster/go.mod ./localcluster/
RUN --mount=type=cache,target=/go/pkg/mod go mod download

COPY cmd ./cmd
COPY internal ./internal
ARG TARGETOS TARGETARCH
ARG VERSION=dev
ARG COMMIT=
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /out/holdfast ./cmd/agent

# A user and a group to be, an empty home and data dir that this user owns: scratch has none of them.
RUN mkdir -p /out/root/etc /out/root/tmp /out/root/var/lib/holdfast && \
    echo 'holdfast:x:65532:65532::/tmp:/none' > /out/root/etc/passwd && \
    echo 'holdfast:x:65532:' > /out/root/etc/group && \
    chmod 1777 /out/root/tmp && chown 65532:65532 /out/root/var/lib/holdfast

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/root /
COPY --from=build /out/holdfast /holdfast

ARG VERSION=dev
ARG COMMIT=
LABEL org.opencontainers.image.title="Holdfast" \
      org.opencontainers.image.description="The agent that keeps a Kubernetes cluster as the fleet repository says" \
      org.opencontainers.image.source="https://github.com/holdfast-dev/holdfast" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"

# By number: with a name, the kubelet cannot tell that it is not root.
USER 65532:65532
ENV HOME=/tmp
EXPOSE 8080
ENTRYPOINT ["/holdfast"]
CMD ["agent"]
