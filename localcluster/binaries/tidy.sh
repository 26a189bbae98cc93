#!/bin/sh
# Tidies pinned.mod and pinned.sum, or with -check verifies that they are tidy and
# that the downloaded modules match their checksums.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp pinned.mod "$work/go.mod"
cp pinned.sum "$work/go.sum"
export GOWORK=off GOFLAGS=-mod=mod
if [ "${1:-}" = -check ]; then
  (cd "$work" && go mod tidy -diff && go mod verify)
  exit
fi
(cd "$work" && go mod tidy)
cp "$work/go.mod" pinned.mod
cp "$work/go.sum" pinned.sum
