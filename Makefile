# Everything a person types. The virtual environment is made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-system test-vm simulate soak torture mutants lint format bench lock clean help

help:
	@echo "make demo         three peers, a shop, an experiment, a killed leader: the whole thing in under a minute"
	@echo "make test         unit tests, simulation and one smoke test of real peers (under five minutes)"
	@echo "make simulate     whole clusters on virtual time: SEEDS=1000 of them, or SEED=17 once more with its trace"
	@echo "make test-system  real processes, kills, pauses, and two minutes of torture (under 45 minutes)"
	@echo "make test-vm      the part of it that needs netem, cgroup v2 and systemd, in a virtual machine (under 10 minutes)"
	@echo "make lint         ruff, mypy and the directions of the imports"
	@echo "make mutants      each protecting mechanism switched off, and which test notices"
	@echo "make bench        the figures of docs/performance.md"
	@echo "make torture      five peers on five machines of their own, and everything that can go wrong: MINUTES=10 SEED=n"
	@echo "make soak         repeated kills; for a long evening, never in CI"

$(READY): setup.cfg pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"found Python {sys.version.split()[0]}, raftchaos needs 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/raftchaos demo

test: $(READY)
	$(PYTEST) -q -n 2 --dist worksteal tests/unit tests/simulation tests/system/cluster/test_smoke.py

test-system: $(READY)
	$(PYTEST) -v -p no:cacheprovider tests/system

# Debian's kernel, emulated, with this machine's files: as root, on x86-64. `make test-system` does it too.
test-vm: $(READY)
	$(PYTEST) -v -p no:cacheprovider tests/system/debian

soak: $(READY)
	$(BIN)/python -m tests.simulation --seeds 10000 --seconds 12
	RAFTCHAOS_SOAK=1 $(PYTEST) -v -p no:cacheprovider --timeout 3600 tests/system

# Needs root: it makes network namespaces. A seed of chance is printed and can be repeated with SEED=n.
MINUTES ?= 10
torture: $(READY)
	RAFTCHAOS_TORTURE_MINUTES=$(MINUTES) RAFTCHAOS_TORTURE_SEED=$(SEED) $(PYTEST) -q -s -p no:cacheprovider tests/system/torture/test_torture.py

simulate: $(READY)
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),100)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(FIRST),--first $(FIRST))

mutants: $(READY)
	$(BIN)/python -m tests.mutants

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# failover.py needs root: it makes network namespaces. An hour of elections.py is not part of it.
bench: $(READY)
	$(BIN)/python benchmarks/cluster.py
	$(BIN)/python benchmarks/consensus.py
	$(BIN)/python benchmarks/failover.py
	$(BIN)/python benchmarks/proxy.py

lock: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
