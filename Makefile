# Each target builds .venv first if it is missing or older than pyproject.toml. README.md shows the same without make.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Colab's image of August 2026. tensorflow-metadata 1.21 installs with this protobuf and cannot be imported.
LOWEST := tensorflow==2.20.0 keras==3.13.2 protobuf==5.29.6 absl-py==1.4.0 tensorflow-metadata==1.17.0 \
  tensorflow-serving-api==2.19.0 grpcio-health-checking==1.60.0 numpy==2.0.0 pillow==11.0.0
CHECK_PYTHON = @$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or \
  sys.exit("error: Python %d.%d, expected 3.11, 3.12 or 3.13: make ... PYTHON=python3.12" % v)'
# Idle processes take tests over from the other; before that each runs whole files, whose fixtures are made once.
PARALLEL := -n $(JOBS) --dist worksteal --durations=15

.DEFAULT_GOAL := help
.PHONY: help venv quickstart demo test test-fast test-all test-lowest coverage lint format docs docs-serve clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.installed  ## build .venv from pyproject.toml

$(VENV)/.installed: pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[photos,dev]'
	@touch $@

quickstart: venv  ## prepare, train, evaluate, export, serve and query in a few minutes; SEED=n for another seed
	$(BIN)/python -m keras_alexnet.quickstart $(if $(SEED),--seed=$(SEED))

demo: venv  ## the demo page on the quickstart's network, at http://127.0.0.1:8000
	$(BIN)/pip install --quiet --editable '.[photos,demo]'
	test -d build/quickstart/export/alexnet || $(BIN)/python -m keras_alexnet.quickstart
	$(BIN)/python -m serving.server --model_base_path=$(CURDIR)/build/quickstart/export/alexnet & server=$$!; \
	  trap "kill $$server" EXIT; $(BIN)/python -m keras_alexnet.demo --model=build/quickstart/model

test: venv  ## all tests but the slow ones
	$(PYTEST) $(PARALLEL) -m "not slow"

test-fast: venv  ## the quick tests that start no other process
	$(PYTEST) $(PARALLEL) -q -m "not slow and not medium and not subprocess"

test-all: venv  ## all tests, with the other libraries and graph optimization; then the numeric ones under other oneDNN settings
	$(BIN)/pip install --quiet --editable '.[photos,dev,docs,demo,notebook,parquet,ray,benchmark,hub]'
	PYTHON_WITH_TENSORFLOW_2_20=$(abspath $(wildcard .venv-lowest/bin/python)) $(PYTEST) $(PARALLEL) --optimize_graphs
	TF_ENABLE_ONEDNN_OPTS=0 $(PYTEST) $(PARALLEL) -m numeric
	TF_ENABLE_ONEDNN_OPTS=1 $(PYTEST) $(PARALLEL) -m numeric
	ONEDNN_MAX_CPU_ISA=AVX2 $(PYTEST) $(PARALLEL) -m numeric

test-lowest: .venv-lowest/.installed  ## the quick tests on the lowest versions that pyproject.toml accepts
	.venv-lowest/bin/python -m pytest $(PARALLEL) -q -m "not slow and not medium and not subprocess"

.venv-lowest/.installed: pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --editable '.[photos,dev]' $(LOWEST)
	@touch $@

coverage: venv  ## the tests of `make test`, with a table of the lines that they miss
	$(PYTEST) $(PARALLEL) -m "not slow" --cov --cov-report=term-missing:skip-covered

lint: venv  ## formatting, static checks, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: venv  ## build the documentation into build/docs; warnings are errors
	$(BIN)/pip install --quiet --editable '.[docs]'
	$(BIN)/python docs/flag_tables.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: docs  ## show the documentation at http://127.0.0.1:8000
	$(BIN)/mkdocs serve

clean:  ## remove what the targets above have made
	rm -rf $(VENV) .venv-lowest build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
