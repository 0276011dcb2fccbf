#!/usr/bin/env bash
# DCASE 2024 Task 2, recordings to challenge scores: bash run.sh --data_root DIR [--stage N] [--conf FILE] [a.b=c ...]
# Generated from recipes/template by `python recipes/template/make.py`: change it there.
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/oe.yaml   # the configuration; README.md lists the others
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
