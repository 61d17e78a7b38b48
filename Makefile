# Each target sets up what it needs: a Python from 3.11 on and make are all that must be there before. Python's packages
# go to .venv, servers onto the machine where root asks; what those need besides is kept in ~/.cache/infinitic-servers.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A stamp is named after the content of pyproject.toml: whoever changes that file installs anew.
CONTENT := $(shell cksum < pyproject.toml | cut -d ' ' -f 1)
RUNTIME := $(VENV)/.runtime-$(CONTENT)
DEV := $(VENV)/.dev-$(CONTENT)
PEERS := $(VENV)/.peers-$(CONTENT)
SERVERS := $(BIN)/python -m tests.servers
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.DEFAULT_GOAL := help
.PHONY: help demo test check bench servers proof clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s  %s\n", $$1, $$2 }' Makefile

demo: $(RUNTIME)  ## watch a workflow survive the death of its worker
	@$(BIN)/python -m infinitic demo

test: $(DEV)  ## run every test, the samples' too, with the servers that can be had
	@$(SERVERS) -- $(BIN)/python -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=loadfile

check: $(DEV)  ## format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if [ -d tests/typing ]; then echo $(BIN)/pyright; $(BIN)/pyright; else echo "pyright: tests/typing is not there yet"; fi
	$(BIN)/lint-imports

bench: $(PEERS)  ## print each benchmark's table
	@$(SERVERS) --durable -- sh -c 'for table in benchmarks/[!_]*.py; do \
		echo; echo "$$table"; $(BIN)/python "$$table" || exit 1; \
	done'

servers: $(DEV)  ## start the servers of the tests, name them, and stop them at Ctrl-C
	@$(SERVERS)

proof: $(DEV)  ## run the tests with high counts: takes long
	@$(SERVERS) -- $(BIN)/python -m pytest -q --proof --timeout=3600

clean:  ## remove what was made: environment, caches, builds
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed and $(PYTHON) is not: name one, as in make test PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian and Ubuntu: apt install python3-venv)" >&2; \
		exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUNTIME): | $(BIN)/python
	@echo "installing what running needs into $(VENV)"
	@$(INSTALL) .
	@rm -f $(VENV)/.runtime-* && touch $@

$(DEV): | $(BIN)/python
	@echo "installing what developing needs into $(VENV)"
	@$(INSTALL) '.[dev]'
	@rm -f $(VENV)/.runtime-* $(VENV)/.dev-* && touch $(RUNTIME) $@

$(PEERS): | $(BIN)/python
	@echo "installing what the benchmarks compare with into $(VENV)"
	@$(INSTALL) '.[bench,pulsar,redis,mysql,postgres]'
	@rm -f $(VENV)/.runtime-* $(VENV)/.peers-* && touch $(RUNTIME) $@
