# Two commands set a fresh machine up: `make serve` starts a node, `make test` runs the whole suite.
# They need Python 3.11 or newer, pip and make; everything else they install into .venv (and, as root, by apt).

PYTHON ?= python3
RUNS ?= 1000000
BIN := .venv/bin

.PHONY: serve test peers lint bench crash soak fuzz image-test clean

serve: .venv/installed
	$(BIN)/scp-anon serve

test: .venv/installed-test peers
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The real peers that the tests send to and receive from. As root they are installed; else what is missing is named.
peers:
	sh tests/peers.sh

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Writes docs/performance.md and its plots; takes about twenty minutes, in which the machine should have nothing else to do.
bench: .venv/installed-test peers
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	$(BIN)/python -m benchmarks --output docs/performance.md

# Random input to the parsers, RUNS executions in all, some minutes for a million. Linux only. A finding stays in build/fuzz.
fuzz: .venv/installed-test
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,fuzz]'
	$(BIN)/python -m tests.fuzz --runs $(RUNS)

# Kills a node two hundred times over, in mid-work, and counts what was lost; takes about twenty minutes.
crash: .venv/installed-test
	SCP_ANON_CRASH_ROUNDS=200 $(BIN)/python -m pytest tests/test_crash.py

# Half an hour of steady work, and what it does to memory, threads and descriptors.
soak: .venv/installed-test peers
	$(BIN)/python -m tests.soak --minutes 30

# Builds the Dockerfile for real and runs the node in it; needs root, buildah and debootstrap.
image-test: .venv/installed
	bash tests/image/run.sh

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/python:
	$(PYTHON) -c 'import sys; sys.exit("scp-anon needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: .venv/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-test: .venv/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ .venv/installed
