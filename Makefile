# Everything a developer types. `make` alone lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
CODE := $(wildcard configdrive tasks workers rigs demo tests benchmarks docs deploy/packages)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Debian packages and .venv with everything, hashes checked (again: nothing to do, instantly)

$(STAMP): pyproject.toml constraints.txt constraints-kvm.txt setup/debian.sh setup/venv.sh
	@setup/debian.sh
	@PYTHON=$(PYTHON) setup/venv.sh $(VENV)
	@$(BIN)/python -m rigs.guest
# Not when something had to be left out: then the next run tries again.
	@if setup/debian.sh --check && $(BIN)/python -c 'import libvirt' 2>/dev/null; then touch $@; fi

.PHONY: demo
demo: setup ## walk one VM through its life, on a real guest where the machine allows it (HYPERVISOR=kvm|xenserver|vmware|simulated, KEEP=1)
	@HYPERVISOR=$(HYPERVISOR) KEEP=$(KEEP) $(BIN)/python -m demo

.PHONY: bench
bench: setup ## measure all that README and docs/reference/performance.md say, and write it there (10 minutes; QUICK=1: a rough look)
	@$(BIN)/python -m benchmarks --effort $(if $(QUICK),quick,full)

.PHONY: docs
docs: setup ## build/docs: the documentation as HTML, to be read without a network; warnings are errors
	$(BIN)/python -m docs build/docs
	@echo "open build/docs/index.html"

.PHONY: pictures
pictures: setup ## make the pictures in docs/images again: diagrams from their text, Flower's pages, the dashboard (4 minutes)
	@$(BIN)/python -m docs.pictures
	@$(BIN)/python -m tests.e2e.flower_fleet
	@$(BIN)/python -m tests.e2e.dashboard_fleet

# Meanwhile one process writes the bytecode of all tests, which four would each write for themselves (12 s of CPU each).
.PHONY: test
test: setup ## lint, then every test (11 minutes on two quiet cores)
	@$(BIN)/pytest --collect-only -qq >/dev/null 2>&1 & collects=$$!; trap 'kill $$collects 2>/dev/null || true' EXIT; \
	  $(MAKE) --no-print-directory lint; wait $$collects || true
	$(BIN)/pytest -n 4 --dist loadfile

.PHONY: test-unit
test-unit: setup ## the tests that start no daemon
	$(BIN)/pytest tests/unit

.PHONY: fuzz
fuzz: setup ## give strange things to all that comes from outside (CASES=20000, SEED=1, TARGET=, CASE=)
	@$(BIN)/python -m tests.fuzz --cases $(or $(CASES),20000) --seed $(or $(SEED),1) \
	  $(if $(TARGET),--target $(TARGET)) $(if $(CASE),--case $(CASE))

.PHONY: lives
lives: setup ## any life of a VM ends as it must, whatever befalls it (LIVES=5000, SEED=1; half an hour of CPU)
	@$(BIN)/python -m tests.lives --lives $(or $(LIVES),5000) --seed $(or $(SEED),1)

.PHONY: lives-proof
lives-proof: setup ## break the product on purpose: lives must find each break (a minute)
	$(BIN)/pytest tests/lives/broken.py

.PHONY: test-cloud-init
test-cloud-init: setup ## boot a stock Debian 12 with cloud-init on our drive, and search it for passwords (root; 5 minutes; not in `make test`)
	@CI=true $(BIN)/pytest tests/long/cloud_init_guest.py

.PHONY: test-gate
test-gate: setup ## fifty VMs start at once through CloudStack's gate, on a real KVM host (a minute; not in `make test`)
	@CI=true $(BIN)/pytest -s tests/long/gate_storm.py

.PHONY: test-guest-program
test-guest-program: setup ## boot a stock Debian 12 with our package, with and without cloud-init (root; sixteen boots in user-mode Linux; not in `make test`)
	@CI=true $(BIN)/pytest tests/long/guest_program.py $(if $(CASE),-k "$(CASE)")

.PHONY: test-guests
test-guests: setup ## boot each machine, kernel, root disk and other CD drive that a KVM guest may have (half an hour, each is named when it is done; CELL="q35 and scsi": these only; not in `make test`)
	@CI=true $(BIN)/pytest -v tests/long/guest_matrix.py $(if $(CELL),-k "$(CELL)")

.PHONY: test-moves
test-moves: setup ## print how soon after a migration's `complete` a KVM guest has the right medium (4 minutes; not in `make test`)
	@CI=true $(BIN)/pytest tests/long/moves.py

.PHONY: chaos
chaos: setup ## storms of random lives and troubles; 20 seeds are 7 minutes of CPU (SEED=7 or 1..20, SECONDS=60 for longer ones, POOL=threads)
	@$(BIN)/python -m tests.chaos $(if $(SEED),--seeds $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(POOL),--pool $(POOL))

.PHONY: chaos-proof
chaos-proof: setup ## let storms rage on a product that was broken on purpose: each break must be found (3 minutes)
	$(BIN)/pytest tests/chaos/mutations.py

.PHONY: test-frozen
test-frozen: setup ## a worker stands still at each point of an event, and goes on at each moment of the next ones (4 minutes)
	CI=true $(BIN)/pytest -n 2 tests/long/frozen_anywhere.py

.PHONY: test-compose
test-compose: setup ## the compose stack on a Docker engine of its own, as root; ten minutes the first time, nothing is pulled
	@setup/debian.sh --only docker.io docker-compose dpkg-dev debootstrap
	CI=true $(BIN)/pytest -s tests/long/compose/stack.py

.PHONY: lint
lint: setup ## ruff, mypy --strict, the layers, the words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.words

.PHONY: format
format: setup ## what ruff can mend by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: guest-packages
guest-packages: ## dist/: the Debian package and the rpm for VM templates, the same bytes each time
	@setup/debian.sh --only dpkg rpm
	@guest/linux/packages.sh dist

.PHONY: packages
packages: setup ## dist/: wheel, source archive and Debian package of the fleet, and the client's own wheel
	@$(BIN)/python -m deploy.packages dist

.PHONY: test-packages
test-packages: setup ## install the Debian package in a bare Debian 12, use it, remove it (root; the first time 3 minutes)
	@setup/debian.sh --only debootstrap dpkg redis-server
	CI=true $(BIN)/pytest tests/long/debian_package.py

.PHONY: constraints
constraints: setup/constraints.sh ## pin again what pyproject.toml asks for (UPGRADE=1: to the newest)
	@PYTHON=$(PYTHON) UPGRADE=$(UPGRADE) setup/constraints.sh

.PHONY: clean
clean: ## remove .venv, caches and build products
	rm -rf $(VENV) .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
