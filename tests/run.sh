#!/usr/bin/env bash
# Everything CI checks: style, types, layers, shell, tests, the synthetic recipe end to end.  bash tests/run.sh [pytest options]
# The long tests as well: bash tests/run.sh -m "slow or not slow"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. recipes/setup.sh
bin="$(dirname "${PYTHON}")"
say() { echo "== $*"; }
say "ruff"
"${PYTHON}" -m ruff check .
"${PYTHON}" -m ruff format --check --quiet .
say "mypy"
"${PYTHON}" -m mypy
say "import-linter"
"${bin}/lint-imports"
say "shellcheck"
git ls-files -z '*.sh' .ci/run | xargs -0 "${bin}/shellcheck" -x -e SC1091
say "pytest"
# one numerical thread a process: two processes share the cores, and bits do not depend on how many there are
OMP_NUM_THREADS=1 "${PYTHON}" -m pytest -q -n 2 --dist loadfile --durations 15 "$@"
