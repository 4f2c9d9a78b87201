# Plain `make` lists the targets. Every target sets up .venv on first use; later calls start at once.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format lock bench clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.ready ## Make .venv with the locked packages (done by the other targets when needed)

.venv/.ready: requirements.lock setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "AutoMCU needs Python 3.11, 3.12 or 3.13; run make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv/.ready ## Design, train, convert, check and bundle one network: no key, network, GPU, ST tool or board needed
	$(BIN)/python -m automcu.launch +experiment=quickstart

test: .venv/.ready ## The fast test suite (at most 3 minutes on 2 cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: .venv/.ready ## The whole test suite, slow tests included
	$(BIN)/python -m pytest -m 'not gpu and not hardware' --timeout 900

check: .venv/.ready ## Format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.ready ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: .venv/.ready ## Renew requirements.lock from setup.py
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra benchmark --extra dev --extra local-llm --generate-hashes \
		--custom-compile-command 'make lock' setup.py -o requirements.lock

bench: .venv/.ready ## The benchmarks, printed as rates and ratios
	$(BIN)/python -m benchmarks.search_overhead
	$(BIN)/python -m benchmarks.exactness
	$(BIN)/python -m benchmarks.soundness
	$(BIN)/python -m benchmarks.feasibility
	$(BIN)/python -m benchmarks.pool
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.trial_memory
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.local_llm
	$(BIN)/python -m benchmarks.llm_client
	$(BIN)/python -m benchmarks.nasbench

clean: ## Remove .venv and the tools' caches; run folders stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info
