PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt

.PHONY: demo install dev test test-all chaos audit lint format docs clean

demo: install ## a real search on the embedded data
	$(BIN)/equipoise demo

test: dev lint ## everything that is fast, in under ten minutes
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile \
		-m "not slow and not cluster and not browser and not chaos"

test-all: dev ## the tests that `make test` leaves out
	$(BIN)/python -m pytest -m "slow or cluster or browser or chaos"

chaos: dev ## kill runs in every way and at any time, and see that resuming loses nothing: about half an hour
	CHAOS_ROUNDS=20 $(BIN)/python -m pytest -m chaos
	EQUIPOISE_FUZZ=20 $(BIN)/python -m pytest --timeout 1200 tests/fuzz

audit: ## a report: known vulnerabilities of the versions in constraints.txt, and releases outside of our ranges
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	-.venv-audit/bin/pip-audit --requirement constraints.txt --disable-pip --no-deps --progress-spinner off
	-.venv-audit/bin/python benchmarks/dependency_ranges.py
	rm -rf .venv-audit

lint: dev ## style, types and the directions of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: dev ## the page on experiment files, from the schema
	$(BIN)/python -m orchestrator.spec.schema --markdown docs/experiment-files.md

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
