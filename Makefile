# `make train` trains a network on real images, `make test` checks everything; both set up .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: train test lint types pytest examples bench test-gpu bench-gpu clean help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/'

train: $(READY) ## train a small CNN on Fashion-MNIST images (ARGS="--epochs 2" passes options)
	@$(BIN)/gpunn train $(ARGS)

test: lint types pytest ## everything that CI checks

lint: $(READY) ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy
	$(BIN)/mypy

pytest: $(READY) ## the tests (ARGS="-k conv" passes options)
	$(BIN)/python -m pytest -q $(ARGS)

examples: $(READY) ## every example, its pictures and their index.html into pictures/ (DATA=DIR with MNIST and CIFAR-10)
	@$(BIN)/python scripts/run_examples.py $(if $(DATA),--data-dir "$(DATA)") $(ARGS)

bench: $(READY) ## times beside PyTorch's, if that is in .venv, into benchmarks/results/cpu (ARGS="--works 'vgg*'")
	@$(BIN)/python benchmarks/cpu/bench.py $(ARGS)

# The GPU's own targets install nothing and make no .venv: PYTHON is one that has CuPy, pytest and gpunn's dependencies.
test-gpu: ## all tests, on a GPU too (PYTHON=.venv/bin/python; ARGS="-k conv" passes options)
	@$(PYTHON) benchmarks/gpu/device.py
	$(PYTHON) -m pytest -q $(ARGS)

bench-gpu: ## times on a GPU beside PyTorch's, into benchmarks/results (ARGS="--only LeNet" passes options)
	@$(PYTHON) benchmarks/gpu/bench.py $(ARGS)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"gpunn needs Python 3.11 or later, {sys.executable} is {v[0]}.{v[1]}; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean: ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
