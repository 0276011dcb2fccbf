#!/usr/bin/env bash
# Pictures of synthesised surfaces and parts to anomaly scores: bash run.sh [--stage N] [--conf FILE] [a.b=c ...]
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/lite0.yaml   # ImageNet features (extra `image`); conf/mini.yaml: the smallest, an untrained network, for CI
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
