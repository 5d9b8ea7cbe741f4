# make model   set up, build, and run the default workflow
# make build   set up and build only
# make check   the quick part of `make test`: formatting, lint, types
# make test    everything that CI runs
# make clean   remove .venv and built files, keep results
#
# PYTHON=python3.12 takes another Python, CORES=2 fewer cores, TORCH_INDEX=URL torch from that index: without an NVIDIA
# GPU the CPU one, whose URL is on PyTorch's install page.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
CORES ?= 8
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(shell find csrc pytorch_ext -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-input
TORCH := $(shell sed -n 's/^\(torch==[0-9.]*\).*/\1/p' requirements.txt)

# The tests start the interpreter some thousand times: modules are compiled once, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: model test check build clean

model: $(VENV)/.built
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --cores $(CORES) --quiet rules host -- results/final_model.pt

test: $(VENV)/.built $(VENV)/.dev check
	@date -u +"%T tests begin"
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m pytest -n 2 --durations=15

check: $(VENV)/.built $(VENV)/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" ruff check .
	PATH="$(CURDIR)/$(BIN):$$PATH" ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" clang-format --dry-run --Werror $(NATIVE) $(wildcard tests/csrc/*.h tests/csrc/*/*.cpp)
	PATH="$(CURDIR)/$(BIN):$$PATH" snakefmt --check Snakefile rules
	PATH="$(CURDIR)/$(BIN):$$PATH" snakemake --lint

build: $(VENV)/.built

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "error: $$($(PYTHON) --version) found, 3.11 to 3.13 needed; name one: make PYTHON=python3.12 model" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@command -v $${CXX:-c++} >/dev/null \
	  || { echo "error: no C++ compiler found; on Debian and Ubuntu: apt install g++ python3-dev" >&2; exit 2; }
	@echo "setting up $(VENV) (once, some minutes)"
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch is installed first and by itself: pinned like this it takes a CPU build where one is offered,
# and nothing after it pulls in another. Where none is, a machine that has no use for CUDA hears of it in time.
$(VENV)/.installed: requirements.txt $(VENV)/.created
	@if [ -z '$(TORCH_INDEX)' ] && ! nvidia-smi -L >/dev/null 2>&1 \
	  && $(PIP) --dry-run --report - '$(TORCH)' 2>/dev/null | grep -qE '"name": "(nvidia|cuda)-'; then \
	  echo "warning: no NVIDIA GPU here (nvidia-smi finds none), but torch comes with some 6 GB of CUDA from pip's index;" \
	    "for the CPU build, a tenth of that, stop now (Ctrl-C) and give the CPU index of PyTorch's install page:" \
	    "make TORCH_INDEX=URL model" >&2; fi
	$(PIP) $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)') '$(TORCH)'
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt requirements-filter.txt requirements-checks.txt requirements-warc.txt requirements-harness.txt $(VENV)/.installed
	$(PIP) -r requirements-dev.txt
	rm -rf $(VENV)/harness
	$(PIP) --no-deps --target $(VENV)/harness -r requirements-harness.txt
	touch $@

$(VENV)/.built: $(VENV)/.installed setup.py pyproject.toml $(NATIVE)
	PATH="$(CURDIR)/$(BIN):$$PATH" python setup.py --quiet build_ext --inplace
	touch $@

clean:
	rm -rf $(VENV) build snakelm/*.so pytorch_ext/*.so
