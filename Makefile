# Quaymaster. Two commands do everything on a fresh machine:
#   make demo   sets up what is missing and runs the main job for real
#   make test   sets up what is missing and runs all tests
# Both work as root, and with sudo otherwise.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS    := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.7.0
# Whatever needs root (a private engine, mounts, namespaces) runs under this. Go
# compiles as the caller; what root compiles inside a test stays out of the
# caller's cache.
ROOT       := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E env PATH="$$PATH" GOCACHE="$$(go env GOCACHE)-root" GOMODCACHE="$$(go env GOMODCACHE)")
PACKAGES   := ./...
# Those of all suites: see the targets that begin with test-.
EVERY_TAG  := integration,newest,engines,packages,image,terraform,vm

export GOFLAGS ?= -buildvcs=false

.PHONY: help
help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/quaymaster and bin/quaymaster-runtime, static
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/quaymaster ./cmd/quaymaster-runtime

.PHONY: setup
setup: ## install what tests need and this machine lacks (Debian packages)
	@test/setup.sh test

.PHONY: vault
vault: ## build the real Vault server that tests use, once (about 10 minutes)
	@test/vaultd/build.sh

.PHONY: engines
engines: ## build the newest Docker Engine and docker compose that tests use, once (about 10 minutes)
	@test/setup.sh engines
	@test/engines/build.sh

.PHONY: demo
demo: ## watch a secret go from Vault into a container's first instruction
	@test/setup.sh demo
	@$(MAKE) --no-print-directory build
	@CGO_ENABLED=0 go build -o bin/demo ./test/demo
	@$(ROOT) bin/demo

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted"; exit 1; }
	go vet $(PACKAGES)
	go vet -tags integration $(PACKAGES)
	go vet -tags $(EVERY_TAG) $(PACKAGES)
	go run $(STATICCHECK) -tags $(EVERY_TAG) $(PACKAGES)

.PHONY: test-short
test-short: ## unit tests only: no root, no engine, no Vault; for the daily loop
	go test -race $(PACKAGES)

# The simulated years are many when nothing watches for races, and two under -race.
.PHONY: test-years
test-years: ## sixteen years of a token's life, in synthetic time (a minute); make test calls it
	go test -run TestAYear ./auth/vaultlogin

# The Vault server is built first and beside the unit tests: cold it takes as
# long as everything else together.
.PHONY: test
test: setup ## everything: lint, unit tests, and the whole way on a real engine and a real Vault
	@mkdir -p out
	@setsid test/vaultd/build.sh >out/vault.path 2>out/vault.log & building=$$!; \
	trap 'kill -- -$$building 2>/dev/null || true' EXIT; \
	$(MAKE) --no-print-directory lint test-short test-years; \
	while kill -0 $$building 2>/dev/null; do echo "waiting for the Vault server to be built: $$(tail -n 1 out/vault.log)"; sleep 20; done; \
	wait $$building || { cat out/vault.log; exit 1; }
	@$(MAKE) --no-print-directory test-integration

INTEGRATION := QUAYMASTER_BIN=$(CURDIR)/bin QUAYMASTER_VAULT=$$(test/vaultd/build.sh) go test -exec '$(ROOT)' -race -p 1 -tags integration

# The storm of a thousand agents comes last and by itself, so that its figures
# are seen.
.PHONY: test-integration
test-integration: build ## the tests that need root, an engine and Vault; make test calls it
	$(INTEGRATION) -timeout 40m -skip TestRealVaultStorm $(PACKAGES)
	$(INTEGRATION) -timeout 10m -v -run TestRealVaultStorm ./auth/vaultlogin

# Every gate on Debian's engine and on the newest, in each way they are set up,
# and a storm through each gate; then what talks to the engine most, on the newest
# one as well. An hour on two quiet cores; QUAYMASTER_STORM_STARTS=100 makes the
# storms short. `go run ./test/gates/counts out/engines.json docs/compatibility.md`
# then puts the counts where people read them.
.PHONY: test-engines
test-engines: engines build ## every gate on every engine; table, and out/engines.json
	@mkdir -p out
	QUAYMASTER_ENGINE=$$(test/engines/build.sh) QUAYMASTER_ENGINES_JSON=$(CURDIR)/out/engines.json QUAYMASTER_BIN=$(CURDIR)/bin \
		QUAYMASTER_VAULT=$$(test/vaultd/build.sh) go test -exec '$(ROOT)' -race -tags engines -v -timeout 180m ./test/gates
	QUAYMASTER_ENGINE=$$(test/engines/build.sh) QUAYMASTER_ENGINE_KIND=newest $(INTEGRATION),newest -timeout 60m \
		./test/engine ./inject/docker ./inject/volume ./inject/swarm ./cmd/quaymaster-runtime ./test/e2e

# The Terraform modules: names and types against the providers' schemas, and the
# modules host and vault applied by the real Vault provider to a real Vault. What
# is not there is built first, 10 minutes each.
.PHONY: test-terraform
test-terraform: build ## the Terraform modules, checked, and applied to a real Vault
	@test/setup.sh terraform
	@test/terraform/build.sh mirror >/dev/null
	cd test/terraform && PATH="$$(dirname "$$(./build.sh terraform)"):$$PATH" go test -tags terraform -v -timeout 30m ./...
	PATH="$$(dirname "$$(test/terraform/build.sh terraform)"):$$PATH" go test -race -tags terraform ./providers/awssm
	QUAYMASTER_BIN=$(CURDIR)/bin QUAYMASTER_VAULT=$$(test/vaultd/build.sh) \
		go test -exec '$(ROOT)' -race -tags terraform -v -timeout 30m ./test/applied

# A minute and a half.
.PHONY: test-examples
test-examples: engines build ## every example as it lies there, with docker compose and a real Vault
	QUAYMASTER_ENGINE=$$(test/engines/build.sh) QUAYMASTER_BIN=$(CURDIR)/bin QUAYMASTER_VAULT=$$(test/vaultd/build.sh) \
		go test -exec '$(ROOT)' -race -tags engines -v -timeout 20m ./examples

# Machines in software: half an hour on two quiet cores. What they wrote to their
# consoles lies in out/vm afterwards.
.PHONY: test-vm
test-vm: build ## whole machines from an image, in EC2, Google Cloud and Azure: boot, reboot, upgrade, removal, and boots at which something is wrong
	@test/setup.sh vm
	QUAYMASTER_VAULT=$$(test/vaultd/build.sh) go test -exec '$(ROOT)' -tags vm -v -timeout 90m ./test/vm

.PHONY: test-all
test-all: test test-engines test-examples test-packages test-image test-vm test-terraform ## every suite there is

.PHONY: package
package: ## deb and rpm for amd64 and arm64, in out/packages; the same bytes from the same commit
	@VERSION='$(VERSION)' packaging/build.sh

.PHONY: release
release: ## archives, packages, SBOMs and checksums in out/release, signed by the SSH key SIGN_KEY
	@VERSION='$(VERSION)' packaging/release.sh

# Built twice, then installed, upgraded and purged in a Debian made for it.
.PHONY: test-packages
test-packages: ## what is in the packages, and what installing and removing them does
	@test/setup.sh packages
	go test -exec '$(ROOT)' -race -tags packages -v -timeout 60m ./packaging/...

# The script that makes images runs in Debian roots of its own; Packer and its
# plugins, built once (about 6 minutes), read the templates.
.PHONY: test-image
test-image: ## what is in an image and what is not, and Packer's templates
	@test/setup.sh image
	@test/packer/build.sh >/dev/null
	go test -exec '$(ROOT)' -race -tags image -v -timeout 60m ./packaging/image

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (default 30s)
	@for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$package/*_test.go | sed 's/func //'); do \
			echo "$$package $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $${FUZZTIME:-30s} $$package; \
		done; \
	done

.PHONY: bench
bench: setup build ## start latency beside a plain container, sizes, memory; table and out/bench.json
	@mkdir -p out
	@CGO_ENABLED=0 go build -o bin/bench ./test/bench
	@$(ROOT) bin/bench -json out/bench.json

.PHONY: clean
clean: ## remove what was built here (not the cache of engines, images and Vault)
	rm -rf bin out
