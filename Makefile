# Every target does its own set-up: only make and Python 3.11 (or newer) have to be there.
#   make demo       install, then segment a virtual patient straight from 8-fold undersampled k-space
#   make test       install, then lint, type check and run every fast test
#   make test-slow  install, then run the training checks of minutes
#   make bench      install, then measure core time and memory (docs/benchmarks.md)
#   make clean      remove what the other targets made

SHELL := /bin/bash
.DEFAULT_GOAL := demo

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
# Two test workers share the cores; more threads in each would fight over them.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
# PYTHON=/path/to/python makes the choice by hand.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

.PHONY: demo test test-slow bench lint install clean

demo: $(READY)
	@$(BIN)/kwise demo

test: lint
	@$(THREADS) $(BIN)/pytest -n $(WORKERS) -m "not slow" --benchmark-disable

test-slow: $(READY)
	@$(THREADS) $(BIN)/pytest -m slow --benchmark-disable

# Core time, not wall time: a busy machine then changes the numbers little.
bench: $(READY)
	@$(THREADS) $(BIN)/pytest benchmarks/bench_*.py -s --benchmark-only --benchmark-timer=time.process_time --benchmark-quiet

lint: $(READY)
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/mypy

install: $(READY)

# Done once; again whenever the dependencies or their pins change.
$(READY): pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "setting up kwise: got no python3.11 nor a newer python3 on the path; wanted Python 3.11 or newer" >&2; \
		exit 1; fi
	@echo "setting up kwise in $(VENV) (once, a few minutes)"
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks kwise_demo
	find src -name '*.egg-info' -prune -exec rm -rf {} +
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
