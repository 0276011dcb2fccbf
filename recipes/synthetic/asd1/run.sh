#!/usr/bin/env bash
# Machine recordings to challenge scores on a synthesised corpus: bash run.sh [--stage N] [--conf FILE] [a.b=c ...]
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/oe.yaml   # the configuration; conf/mini.yaml is the smallest that goes through every stage
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
