# Everything a newcomer types. Each target does its own set-up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Files of tests, each in one process; a test that starts TensorFlow anew keeps a single core busy at most.
TWO_AT_A_TIME := -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help venv quickstart test test-all lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.installed  ## build .venv from pyproject.toml

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[photos,dev]'
	@touch $@

quickstart: venv  ## photographs in, a named answer over gRPC out, in a few minutes
	$(BIN)/python -m keras_alexnet.quickstart

test: venv  ## the tests
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) -m "not slow"

test-all: venv  ## the tests, the long ones, and the comparison with PyTorch
	$(BIN)/pip install --quiet --editable '.[photos,dev,torch]'
	$(BIN)/python -m pytest $(TWO_AT_A_TIME)

lint: venv  ## formatting and static checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: venv  ## put the formatting right
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the commands above have made
	rm -rf $(VENV) build .pytest_cache .ruff_cache *.egg-info
