#!/usr/bin/env bash
# Builds the compiled core for this env's Python; without torch there, the operators are left out.
set -euo pipefail
cd "${SNAKELM:?run by snakemake from the workflow}"
SNAKELM_TORCH=$(python -c 'import importlib.util as u; print(int(u.find_spec("torch") is not None))') \
  python setup.py --quiet build_ext --inplace
