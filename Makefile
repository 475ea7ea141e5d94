# `make` lists the targets. Everything runs in ./.venv, which is made on first use.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(sort $(wildcard protos/chatsvc/v1/*.proto))
GENERATED := chatsvc/v1
DEV_OPTIONS ?=
SEEDS ?= 0:200
JOBS ?= 2
DURATION ?= 60
SEED ?= 1
FAULTS ?= short

.DEFAULT_GOAL := help
.PHONY: help run test check lint types proto proto-check format sim chaos mutants coverage clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chatsvc needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fast]'
	@touch $@

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "chatsvc needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fast,dev]'
	@touch $@ $(VENV)/.run

run: $(VENV)/.run  ## start three servers in the foreground and say how to connect
	@$(BIN)/chatsvc dev $(DEV_OPTIONS)

test: $(VENV)/.dev  ## run the tests
	$(BIN)/python -m pytest

check: lint types test  ## all that CI checks

lint: $(VENV)/.dev proto-check  ## style, import contracts, protos, staleness of generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

format: $(VENV)/.dev  ## put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write

proto: $(VENV)/.dev  ## generate chatsvc/v1 from protos/
	rm -f $(GENERATED)/*_pb2*
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos --python_out=. --pyi_out=. --grpc_python_out=. --mypy_grpc_out=. --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc $(PROTOS)

proto-check: $(VENV)/.dev
	@fresh=$$(mktemp -d) && trap 'rm -r "$$fresh"' EXIT && \
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos --python_out=$$fresh --pyi_out=$$fresh --grpc_python_out=$$fresh --mypy_grpc_out=$$fresh --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc $(PROTOS) && \
	diff -r --exclude=__init__.py --exclude=__pycache__ $$fresh/chatsvc/v1 $(GENERATED) >/dev/null || \
	{ echo 'the generated code in $(GENERATED) is stale: make proto' >&2; exit 1; }

sim: $(VENV)/.dev  ## simulate whole clusters: make sim SEEDS=0:1000 JOBS=2 CLASS=cut
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(JOBS) $(if $(CLASS),--class $(CLASS))

chaos: $(VENV)/.dev  ## kill, stop and cut real servers, and judge what clients saw: make chaos DURATION=600 SEED=7 FAULTS=all
	$(BIN)/python -m tests.chaos --duration $(DURATION) --seed $(SEED) --faults $(FAULTS)

mutants: $(VENV)/.dev  ## show that every rule of the protocol is noticed when it is missing
	$(BIN)/python -m tests.simulation.mutants

coverage: export COVERAGE_FILE := .coverage.core
coverage: $(VENV)/.dev  ## branch coverage of the replication core by stories and simulation alone
	$(BIN)/coverage run --branch --source=chatsvc/replication -m tests.replication.stories
	$(BIN)/coverage run --append --branch --source=chatsvc/replication -m tests.simulation --seeds 0:40 --class faults --jobs 1
	$(BIN)/coverage report --show-missing --skip-covered --precision=1

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
