# make demo, make test and make lint need only Python >= 3.10 (with venv) and pip: each makes the
# environment first if it is missing. VENV= names another environment, PYTHON= another interpreter.

VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
READY := $(VENV)/.mmseg_deepvit-ready
export PATH := $(BIN):$(PATH)

.PHONY: setup demo docs test test-slow test-gpu lint format clean

setup: $(READY)

$(READY): setup.cfg setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[onedl,docs,test,dev]'
	touch $@

demo: $(READY)
	$(BIN)/python tools/demo.py

# A warning is an error: a link without an end, a docstring that does not read.
docs: $(READY)
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# Files of tests are shared out to processes of one thread each: threads of several would wait for
# each other's cores. JOBS=1 shows tests one by one.
JOBS ?= 2

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses $(JOBS) --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf work_dirs/demo docs/_build docs/generated build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
