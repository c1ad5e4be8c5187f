# Every target that a user or contributor needs; `make` alone lists them.
SHELL       := /bin/bash
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# -trimpath, no VCS stamp and no build id: the same source gives the same bytes anywhere.
BUILD_FLAGS := -trimpath -buildvcs=false
LD_FLAGS    := -s -w -buildid= -X github.com/stavily/agents/shared/pkg/api.Version=$(VERSION)
PYTHON      ?= python3
# Tests and tools take them as the programs do, so that each package is compiled once.
export CGO_ENABLED ?= 0
export GOFLAGS     ?= -trimpath

PROGRAMS := sensor-agent action-agent stavily
pkg_sensor-agent := ./sensor-agent/cmd/sensor-agent
pkg_action-agent := ./action-agent/cmd/action-agent
pkg_stavily      := ./orchestrator/cmd/stavily

.DEFAULT_GOAL := help
.PHONY: help demo test build

##@ Start here
demo: build ## The main job for real: server, both agents, mutual TLS, trigger → action → output
	@bin/stavily demo

test: ## The Python tests, then all Go tests
	$(MAKE) --no-print-directory test-python
	$(GO) test ./...

dev: build ## The demo's set-up, kept running for you; Ctrl-C cleans up
	@bin/stavily dev

##@ Build
build: $(PROGRAMS:%=build-%) ## Build sensor-agent, action-agent and stavily into bin/

.PHONY: build-% build-sensor build-action
build-sensor: build-sensor-agent ## Build the sensor agent
build-action: build-action-agent ## Build the action agent
$(PROGRAMS:%=build-%): build-%:
	@mkdir -p bin
	$(GO) build $(BUILD_FLAGS) -ldflags '$(LD_FLAGS)' -o bin/$* $(pkg_$*)

AGENTS    := sensor-agent action-agent
TARGETS   := linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64
ARTEFACTS := $(foreach a,$(AGENTS),$(foreach t,$(TARGETS),bin/$(a)-$(t)$(if $(findstring windows,$(t)),.exe)))

.PHONY: build-all build-linux build-darwin build-windows $(ARTEFACTS)
build-all: $(ARTEFACTS) ## Both agents for every platform: the ten release artefacts
build-linux: $(filter bin/%-linux-amd64 bin/%-linux-arm64,$(ARTEFACTS)) ## Both agents for Linux
build-darwin: $(filter bin/%-darwin-amd64 bin/%-darwin-arm64,$(ARTEFACTS)) ## Both agents for macOS
build-windows: $(filter %.exe,$(ARTEFACTS)) ## Both agents for Windows
$(ARTEFACTS):
	@mkdir -p bin
	GOOS=$(word 3,$(subst -, ,$(basename $(@F)))) GOARCH=$(word 4,$(subst -, ,$(basename $(@F)))) \
	$(GO) build $(BUILD_FLAGS) -ldflags '$(LD_FLAGS)' -o $@ $(pkg_$(word 1,$(subst -, ,$(@F)))-agent)

SERVERS := $(foreach t,linux-amd64 linux-arm64 darwin-amd64 darwin-arm64,bin/stavily-$(t))
.PHONY: build-server package test-package $(SERVERS)
build-server: $(SERVERS) ## The server, which is the operators' command line too, for Linux and macOS
$(SERVERS):
	@mkdir -p bin
	GOOS=$(word 2,$(subst -, ,$(@F))) GOARCH=$(word 3,$(subst -, ,$(@F))) \
	$(GO) build $(BUILD_FLAGS) -ldflags '$(LD_FLAGS)' -o $@ $(pkg_stavily)

package: ## What is released: archives, .deb, .rpm, bills of materials, checksums; into dist/release
	scripts/package.sh

test-package: ## That packages are the same twice, and can be installed, upgraded and purged (needs root)
	scripts/test-package.sh

.PHONY: cross-vet cross-build deps clean
cross-vet: ## Vet every package for each other system and processor
	$(GO) run ./test/platforms

cross-build: ## Compile and link the programs for each system and processor
	@set -e; out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	for os in linux darwin windows; do for arch in amd64 arm64; do export GOOS=$$os GOARCH=$$arch; echo "$$os/$$arch"; \
		$(GO) build $(BUILD_FLAGS) -ldflags '$(LD_FLAGS)' -o "$$out/" $(foreach p,$(PROGRAMS),$(pkg_$(p))); done; done

deps: ## Download what the build needs
	$(GO) mod download

clean: ## Remove what the build made
	rm -rf bin dist site

##@ Test
.PHONY: test-race test-python test-e2e fuzz demo-crash attack bench check lint
# The longest first, so that none is left over at the end; two at a time: with more, tests that bound
# what a sandbox may take meanwhile (TestMemoryLimitOfATree) fail for the load on two processors.
LONGEST := ./shared/pkg/agent ./kit ./test/e2e ./orchestrator/internal/engine ./shared/internal/sandbox
# Not looked into by the race detector, nor by the checks of pointers that come with it, is what only computes:
# SQLite and its C library, which were translated to Go and which the mutex of a connection serialises, and the
# arithmetic of signatures, key exchanges and hashes of passwords. With them, tests of the engine and of the agents' API take more
# than twice as long. SQLite's driver, TLS and all of ours are looked into.
COMPUTES := modernc.org/sqlite/lib modernc.org/libc/... modernc.org/memory \
	$(addprefix crypto/internal/fips140/,nistec/... bigmod mlkem edwards25519/...) $(addprefix golang.org/x/crypto/,argon2 blake2b)
# Without `go vet`, which lint has of the same files.
test-race: ## All Go tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -vet=off $(foreach p,$(COMPUTES),'-gcflags=$(p)=-race=false -d=checkptr=0') -p 2 -timeout 20m $(LONGEST) ./...

test-python: ## The SDK's and the plugins' tests
	PYTHON=$(PYTHON) scripts/test-python.sh

.PHONY: test-plugins
test-plugins: ## Every official plugin through `stavily plugin test`, at its declared permissions
	STAVILY_TEST_PLUGINS=1 PYTHON=$(PYTHON) $(GO) test -count=1 -v -timeout 20m -run TestOfficialPlugins ./kit

.PHONY: test-browser
test-browser: ## The dashboard in a real Chromium (apt-get install chromium); SCREENSHOTS=dir keeps pictures
	STAVILY_SCREENSHOTS=$(abspath $(SCREENSHOTS)) PYTHON=$(PYTHON) $(GO) test -count=1 -v -timeout 10m ./test/browser

.PHONY: test-archives
ARCHIVES ?= 100000
test-archives: ## ARCHIVES (100000) mutated plugin packages: refused or as signed, nothing touched around them; memory of bombs
	STAVILY_ARCHIVES=$(ARCHIVES) $(GO) test -count=1 -v -timeout 30m -run 'TestMutatedArchives|TestBombs' ./shared/pkg/bundle

.PHONY: test-pythons test-types sdk-wheel test-sdk-wheel
test-pythons: ## The SDK's tests with every Python from 3.8 on that is here
	scripts/test-pythons.sh

test-types: ## The SDK's types, strictly (needs mypy: apt-get install mypy)
	cd sdk/python && mypy && mypy --python-version 3.8

sdk-wheel: ## The SDK as a wheel, into dist/
	PYTHON=$(PYTHON) scripts/sdk-wheel.sh

test-sdk-wheel: ## That the wheel is the same from the same source, and works
	PYTHON=$(PYTHON) scripts/test-sdk-wheel.sh

.PHONY: reload-storm
reload-storm: ## 1,000 reloads of a sensor and of an action under load, half of them invalid
	STAVILY_RELOADS=1000 PYTHON=$(PYTHON) $(GO) test -count=1 -v -timeout 60m -run TestReloadStorm ./sensor-agent/internal/agent ./action-agent/internal/agent

.PHONY: hostile
hostile: ## 10,000 hostile replies to agents of each kind: nothing begins, no more than 50 MB, all lives on
	STAVILY_HOSTILE=10000 PYTHON=$(PYTHON) $(GO) test -count=1 -v -timeout 30m -run TestHostileOrchestrator ./test/e2e

.PHONY: lost-answers
lost-answers: COUNT := 100
lost-answers: ## COUNT (100) answers of each call of agents are lost once the server has dealt with it, and the call is made again
	STAVILY_LOST_ANSWERS=$(COUNT) $(GO) test -count=1 -v -timeout 30m -run TestLostAnswers ./orchestrator/internal/agentapi

.PHONY: cert-storm
MINUTES ?= 10
cert-storm: ## Certificates of 60 seconds for MINUTES (10; 70 for a hundred renewals of each) under load: no failed instruction, no lost event
	STAVILY_STORM_MINUTES=$(MINUTES) PYTHON=$(PYTHON) $(GO) test -count=1 -v -timeout 0 -run TestCertificateStorm ./test/e2e

.PHONY: docker-build docker-test test-deployments
DOCKER ?= docker
docker-build: ## The images stavily/sensor-agent, stavily/action-agent and stavily/server
	@set -e; for target in sensor-agent action-agent server; do \
		$(DOCKER) build $(DOCKER_BUILD_FLAGS) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
			--target $$target --tag stavily/$$target:latest .; done

docker-test: ## The images and both compose files in an engine, until an action has run in the sandbox
	$(GO) run ./test/docker $(DOCKER_TEST_FLAGS)

test-deployments: ## Kubernetes manifests, Helm chart, compose files and Dockerfile, without cluster or engine
	cd test/deployments && $(GO) vet . && $(GO) test -count=1 .

.PHONY: mixed-versions
mixed-versions: ## Agents of a version before with this server, the other way round, and an upgrade in place; BEFORE=tag or commit
	PYTHON=$(PYTHON) scripts/mixed-versions.sh

demo-crash: build ## The demo with SIGKILL: the action agent in its clean-up, the server between event and action
	@bin/stavily demo --crash agent
	@bin/stavily demo --crash server

COUNT ?= 100000x
fuzz: ## Run every fuzz target COUNT times (100000x)
	COUNT=$(COUNT) scripts/fuzz.sh

.PHONY: chaos
chaos: COUNT := 50
chaos: build ## COUNT (50) faults in each scenario of kills, pauses and partitions under load; CHAOS=-only …
	$(GO) run ./test/chaos -count $(COUNT) -python $(PYTHON) $(CHAOS)

.PHONY: disk-full
disk-full: COUNT := 6
disk-full: HOLD := 60s
disk-full: RATE := 10
disk-full: build ## COUNT (6) times the disk of a process under load is filled, held for HOLD (60s) and freed, under RATE (10) events a second (needs root)
	$(GO) run ./test/chaos -only full -count $(COUNT) -hold $(HOLD) -rate $(RATE) -events 5 -instructions 0.5 -python $(PYTHON) $(CHAOS)

.PHONY: soak
soak: MINUTES := 60
soak: build ## MINUTES (60) of mixed faults under a little load: memory, goroutines and descriptors of no process grow
	$(GO) run ./test/chaos -only soak -soak $(MINUTES)m -rate 20 -events 4 -instructions 0.5 -python $(PYTHON) $(CHAOS)

.PHONY: pauses
pauses: COUNT := 200
pauses: WORLDS := 16
pauses: LONGEST := 10m
pauses: build ## COUNT (200) pauses of agents and the server, of a second to LONGEST (10m), in WORLDS (16) side by side: nothing begins twice
	$(GO) run ./test/chaos -pauses -count $(COUNT) -worlds $(WORLDS) -longest $(LONGEST) -rate 3 -events 0.2 -instructions 0.05 -python $(PYTHON) $(CHAOS)

.PHONY: partitions
partitions: MINUTES := 30
partitions: RATE := 5
partitions: build ## MINUTES (30) of each class of bad network under RATE (5) events a second each, side by side: nothing broken, soon at work again (one needs root)
	$(GO) run ./test/chaos -partitions -soak $(MINUTES)m -rate $(RATE) -events 1.5 -instructions 0.2 -python $(PYTHON) $(CHAOS)

.PHONY: sim
sim: COUNT := 500
sim: ## COUNT (500) lives of server, agents and network in simulated time, an hour each; SEED=n: one, with its trace
	$(GO) test -count=1 -timeout 0 -v -run '^TestSeeds$$' ./test/sim $(if $(SEED),-seed $(SEED),-seeds $(COUNT))

.PHONY: failpoints store-faults build-failpoints
build-failpoints:
	@mkdir -p bin/failpoints
	$(GO) build $(BUILD_FLAGS) -tags failpoints -o bin/failpoints/ ./sensor-agent/cmd/sensor-agent ./action-agent/cmd/action-agent ./orchestrator/cmd/stavily

failpoints: COUNT := 1
failpoints: WORLDS := 1
failpoints: RATE := 20
failpoints: build-failpoints ## Each action at each failpoint COUNT (1) times, in WORLDS (1) side by side, under RATE (20) events a second each; FAILPOINTS="-cells 40 -match action-agent" for fewer
	$(GO) test -count=1 -tags failpoints ./internal/failpoint
	$(GO) run ./test/chaos -points -bin bin/failpoints -count $(COUNT) -worlds $(WORLDS) -python $(PYTHON) -rate $(RATE) -events 2 -instructions 0.5 $(FAILPOINTS)

store-faults: COUNT := 200
store-faults: build-failpoints ## One in a hundred calls of the server's store fails under load, before or after it was done, until COUNT (200) did: on SQLite, then with two servers on PostgreSQL
	$(GO) run ./test/chaos -only faulty -bin bin/failpoints -count $(COUNT) -python $(PYTHON) -rate 20 -events 2 -instructions 0.5 $(CHAOS)

.PHONY: sequences
SEQUENCES ?= 1000
sequences: ## SEQUENCES (1000) random lives of a server: inputs, lost answers, silent agents, restarts
	$(GO) test -count=1 -timeout 120m -run TestAnySequence ./orchestrator/internal/engine -rapid.checks=$(SEQUENCES)

.PHONY: power
CUTS ?= 200
power: ## CUTS (200) power cuts under each durable store, on a disk that forgets what was not flushed (needs root)
	STAVILY_POWER_CUTS=$(CUTS) $(GO) test -count=1 -timeout 60m -run 'Cuts$$' -v ./internal/lossyfs ./internal/audit ./shared/internal/spool ./shared/internal/execution ./orchestrator/internal/store/sqlite

.PHONY: io-errors
io-errors: COUNT := 1
io-errors: ## EIO at each of the first 60 writes and fsyncs under each durable store, COUNT (1) times (needs root)
	STAVILY_IO_ERRORS=$(COUNT) $(GO) test -count=1 -timeout 60m -run 'Errors$$' -v ./internal/lossyfs ./internal/audit ./shared/internal/spool ./shared/internal/execution ./orchestrator/internal/store/sqlite

attack: build ## Hostile plugins against live agents in every kind of host; into docs/security/sandbox.md (needs root)
	$(GO) run ./test/attack -docs docs/security/sandbox.md

bench: build ## Latency, memory, CPU and durable intake, as a table and as JSON
	$(GO) run ./test/bench -python $(PYTHON)
	STAVILY_BENCH=1 $(GO) test -count=1 -timeout 20m -run TestCostOfPages ./orchestrator/internal/web

.PHONY: size
size: ## Where the bytes of the agents are; fails when they grew (UPDATE=-update: take that as known)
	$(GO) run ./test/size $(UPDATE)

.PHONY: bench-sandbox
bench-sandbox: ## What confining a plugin costs, beside plain Python and bubblewrap
	STAVILY_BENCH=1 $(GO) test -count=1 -v -run TestCost ./shared/internal/sandbox
	STAVILY_BENCH=1 PYTHON=$(PYTHON) $(GO) test -count=1 -v -run TestCost ./shared/internal/warm

.PHONY: bench-plugins
bench-plugins: ## How long the activation of an installed plugin version takes, until it answers
	STAVILY_BENCH=1 PYTHON=$(PYTHON) $(GO) test -count=1 -v -run TestCostOfActivation ./shared/pkg/agent

##@ Documentation
.PHONY: docs
docs: ## All pages as a static site in dist/site, offline
	@$(GO) run ./docs/site -out dist/site

##@ Before a commit
.PHONY: reference
reference: ## docs/configuration.md and configs/*.schema.json anew, after a change of a configuration key
	$(GO) test -count=1 ./shared/pkg/config -run TestGenerated -update

lint: ## gofmt, go vet, staticcheck, go mod tidy
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run: gofmt -w on these'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

check: ## What CI runs
	.ci/run

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z-]*:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
