# What a developer and CI call. Nothing is needed but Go, git and make; everything else is built from
# Go modules on first use.

SHELL := /bin/bash
.DEFAULT_GOAL := help

MODULES := . localcluster charttest
GO_DIRS := cmd internal examples localcluster charttest

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# The race detector needs a C compiler on most platforms. Without one, Go turns cgo off.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

GOLANGCI := $(CURDIR)/.cache/golangci-lint
CONTAINER ?= $(shell command -v docker || command -v podman || echo docker)
IMAGE ?= holdfast-dev/holdfast:$(VERSION)

# in-each runs a command in every module, all of them even if one fails.
define in-each
@failed=; for m in $(MODULES); do \
	echo "==> $$m: $(1)"; (cd $$m && $(1)) || failed="$$failed $$m"; \
done; test -z "$$failed" || { echo "failed in:$$failed" >&2; exit 1; }
endef

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the agent: bin/holdfast
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/holdfast ./cmd/agent

# The servers are built first, so that it is no test's time that runs out.
.PHONY: test
test: ## Run all tests, on real control planes, with the race detector (the first run builds the servers: minutes)
	@test -n "$(RACE)" || echo "note: no C compiler, so the race detector is off" >&2
	@cd localcluster && go run ./cmd/localcluster build >/dev/null
	$(call in-each,go test $(RACE) -p 2 -timeout 20m ./...)

.PHONY: test-short
test-short: ## Run the tests that need no cluster
	$(call in-each,go test -short ./...)

.PHONY: lint
lint: $(GOLANGCI) ## Check formatting, go vet and the linters, in every module
	@unformatted=$$(gofmt -l $(GO_DIRS)) && test -z "$$unformatted" || { echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; } >&2
	$(call in-each,go vet ./...)
	$(call in-each,$(GOLANGCI) run --allow-serial-runners --config $(CURDIR)/.golangci.yml ./...)

# The linter is pinned, with all it depends on, in a module of its own.
$(GOLANGCI): tools/go.mod tools/go.sum
	go build -C tools -trimpath -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

.PHONY: verify
verify: ## Check that go.mod files and generated files are up to date
	$(call in-each,go mod tidy -diff)
	@.ci/generated

.PHONY: generate
generate: ## Write the generated files anew
	go generate ./...

.PHONY: fmt
fmt: $(GOLANGCI) ## Format all Go files, imports included
	$(GOLANGCI) fmt --config .golangci.yml $(addsuffix /...,$(GO_DIRS))

.PHONY: demo
demo: ## Three clusters, one repository, one edited line: see it work (KEEP=1 leaves it running)
	go run ./cmd/demo $(if $(filter-out 0,$(KEEP)),--keep)

.PHONY: bench
bench: build ## Measure Holdfast beside its references, 20 minutes (BENCH='--quick', '--only cold-sync', '--list')
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/bench ./cmd/bench
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/bench-applier ./cmd/bench/applier
	bin/bench --agent bin/holdfast --json bin/bench.json $(BENCH)

.PHONY: bench-fleet
bench-fleet: ## Measure what a fleet of agents asks of a Git server, 40 minutes (BENCH='--quick', '--only poll', '--list')
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/bench ./cmd/bench
	bin/bench scale --json bin/bench-fleet.json $(BENCH)

.PHONY: cluster
cluster: ## Start a local cluster named dev (stop it: bin/localcluster down dev)
	go build -C localcluster -o $(CURDIR)/bin/localcluster ./cmd/localcluster
	bin/localcluster up dev

.PHONY: chart
chart: ## Lint and render the chart under every set of values in charts/agent/ci
	cd charttest && go run ./cmd/chartlint ../charts/agent

.PHONY: image
image: ## Build the container image with docker or podman: IMAGE=name:tag
	$(CONTAINER) build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --tag $(IMAGE) .

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin dist .cache
