# `make` lists the targets. Everything runs from the environment that `make install` leaves in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DEMO_STAMP = $(VENV)/.installed-demo
STAMP = $(VENV)/.installed
# Python compiles a module when it is imported; all of them at once would be a good part of the installation.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
DEMO_DIR ?= demo
# Two threads of two processes each would spoil each other on two cores.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal --durations=15

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint types slow clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(STAMP) ## make .venv and install the package with everything its tests and demo need

$(DEMO_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e '.[demo]'
	touch $@

# The tests turn warnings into errors, also those that compiling another package gives: it is done before.
$(STAMP): $(DEMO_STAMP)
	$(PIP_INSTALL) -e '.[demo,test,dev]'
	-$(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib
	touch $@

demo: $(DEMO_STAMP) ## synthesise speech, train on it, evaluate, predict (about 5 minutes on 2 cores)
	$(BIN)/python scripts/demo.py --directory $(DEMO_DIR)

test: $(STAMP) ## the default test suite (about 4 minutes)
	$(PYTEST)

check: lint types test ## format, lint, types and tests

lint: $(STAMP) ## formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## mypy --strict on the package
	$(BIN)/mypy

slow: $(STAMP) ## the slow tests, and those on real recordings when AUDIORNN_REAL_DATA names their folder
	$(PYTEST) -m 'slow or realdata'

clean: ## remove what the targets above made
	rm -rf $(VENV) $(DEMO_DIR) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
