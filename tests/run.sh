#!/usr/bin/env bash
# Everything CI checks: style, types, layers, shell, tests, the synthetic recipe end to end.  bash tests/run.sh [pytest options]
# The long tests as well: bash tests/run.sh -m "slow or not slow"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. recipes/setup.sh
say() { echo "== $*"; }
say "ruff";         "${PYTHON}" -m ruff check . && "${PYTHON}" -m ruff format --check --quiet .
say "mypy";         "${PYTHON}" -m mypy
say "import-linter"; "$(dirname "$(command -v "${PYTHON}")")/lint-imports" | tail -n 3
say "shellcheck";   find . -name '*.sh' -not -path './.venv/*' -print0 | xargs -0 "$(dirname "$(command -v "${PYTHON}")")/shellcheck" -x -e SC1091 .ci/run
say "pytest";       "${PYTHON}" -m pytest -q "$@"
