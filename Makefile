# make demo, make test and make lint need only Python >= 3.10 (with venv) and pip: each makes the
# environment first if it is missing. VENV= names another environment, PYTHON= another interpreter.

VENV ?= .venv
PYTHON ?= python3
BIN := $(abspath $(VENV))/bin
READY := $(VENV)/.mmseg_deepvit-ready
export PATH := $(BIN):$(PATH)

.PHONY: setup demo test test-slow test-gpu lint format clean

setup: $(READY)

$(READY): setup.cfg setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[onedl,test,dev]'
	touch $@

demo: $(READY)
	$(BIN)/python tools/demo.py

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-gpu: $(READY)
	$(BIN)/python -m pytest -m gpu

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf work_dirs/demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
