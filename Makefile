# Everything sets itself up: the virtual environment, the locked dependencies, the control-plane binaries.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first that runs and is new enough; a version manager's shim may be there and not run.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$p $(NEW_ENOUGH) 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Many processes start, and each would compile the same again if none were allowed to keep it.
export PYTHONDONTWRITEBYTECODE :=

# Much of their time is waiting, so more of them than cores run side by side. What shares a control plane is with one
# process (tests/conftest.py says what does); what takes longest comes first.
SIDE_BY_SIDE := --numprocesses 5 --dist loadfile --no-loadscope-reorder
CLUSTER_TESTS := $(BIN)/pytest $(SIDE_BY_SIDE) tests/security tests/cluster
IMPURE_TESTS := tests/unit/test_{adapters,crd_files,demo,docs,kube,localcluster,observability,runtime}*.py

NODES ?= 64
KUBERNETES ?= 1.36
ONCE ?=
QUICK ?=
SECONDS ?= 600
SEED ?= 1

.PHONY: help test proven counted lint types unit cluster security focus demo crds bench soak clean lock setup binaries cyclonus

help: ## Show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: setup ## Show a GPU cloud being rented out (NODES=64, ONCE=1 to end when all was seen)
	$(BIN)/gpu-tenancy demo --nodes $(NODES) --kubernetes $(KUBERNETES) $(if $(ONCE),--once)

test: binaries cyclonus ## Run every check and every test
	$(MAKE) --no-print-directory --jobs 2 proven lint counted

proven: setup
	$(CLUSTER_TESTS) tests/property

# The pure packages are decided here, so it is here that their branches are counted; of the others nothing is counted,
# which takes half the time.
counted: setup
	$(BIN)/coverage run -m pytest tests/unit --ignore-glob=$(IMPURE_TESTS)
	$(BIN)/coverage report --skip-covered --fail-under=95
	@echo "Branch coverage of the pure packages: $$($(BIN)/coverage report --format=total) %"
	$(BIN)/pytest $(IMPURE_TESTS)

lint: setup ## Check style, types, import contracts and generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/gpu-tenancy crds --check

unit: setup ## Run the tests that need no control plane
	$(BIN)/pytest tests/unit tests/property --numprocesses 2

cluster: binaries cyclonus ## Run the tests against a real control plane
	$(CLUSTER_TESTS)

focus: setup ## Have FinOps' own validator judge the usage export (needs python3.12, installs it once)
	$(BIN)/pytest tests/focus -rs

crds: setup ## Generate the CustomResourceDefinitions from the models
	$(BIN)/gpu-tenancy crds

bench: binaries ## Measure against the raw floor; writes build/bench.json (QUICK=1 to see only that it measures)
	$(if $(QUICK),$(BIN)/pytest tests/bench,PYTHONPATH=tests $(BIN)/python -m bench)

security: binaries ## Try to get out of a tenant; writes build/security.json (KUBERNETES=1.35)
	PYTHONPATH=tests $(BIN)/python -m security --kubernetes $(KUBERNETES)

soak: binaries ## Let a storm of changes, failures and kills rage (SECONDS=600, SEED=1) and judge every write
	GPU_TENANCY_SOAK_SECONDS=$(SECONDS) GPU_TENANCY_SOAK_SEED=$(SEED) $(BIN)/pytest tests/cluster/test_storm.py --capture=no

binaries: setup
	$(BIN)/gpu-tenancy localcluster build --kubernetes $(KUBERNETES)

# The second opinion on network policies. Without Go the tests that ask it are skipped, and say so.
cyclonus: binaries
	PYTHONPATH=tests $(BIN)/python -m cyclonus

setup: $(READY)

# The pip that comes with Python 3.11 takes twice as long, but would do. What is imported is compiled then.
$(READY): requirements/pip.lock requirements/dev.lock pyproject.toml
	@$(or $(PYTHON),false) $(NEW_ENOUGH) || \
		{ echo "Python 3.11 or newer is needed; name it with make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/pip.lock || \
		echo "Going on with the pip that came with Python."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lock: ## Renew the locked dependencies (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra localcluster --group dev pyproject.toml -o requirements/dev.lock
	echo pip | uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate - -o requirements/pip.lock
	uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header \
		requirements/focus.in -o requirements/focus.lock

clean: ## Remove the environment and build outputs; the binaries' cache stays
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
