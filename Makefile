# make demo   train, fold, certify, export and validate a ResNet-20 on handwritten digits
# make test   lint, types, the fast suite, then the slow one
# make nightly  every model of the zoo from a training step to a verdict: hours; its last outcome is
#               in tests/bench/results/nightly.json
# Nothing is needed but Python 3.11+ and make: each target sets up .venv by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two files of tests at a time: most of their time is Python's, on one core. Each process takes up to 4 GB.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: demo test nightly check format clean

demo: $(READY)
	$(BIN)/zoo demo

test: check
	$(PYTEST) -m "not slow and not nightly"
	$(PYTEST) -m "slow and not nightly"

# One process: some networks take 10 GB.
nightly: check
	$(BIN)/python -m pytest -m nightly --record tests/bench/results/nightly.json

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "foldzoo needs Python 3.11 or later; received: $$($(PYTHON) --version). Pass another with PYTHON=..."; exit 2; }
	@echo "setting up $(VENV) with the pinned packages (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(READY)

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache
