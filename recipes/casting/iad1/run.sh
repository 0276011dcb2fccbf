#!/usr/bin/env bash
# Casting pictures to anomaly scores: bash run.sh --data_root DIR [--stage N] [--conf FILE] [a.b=c ...]
# DIR holds train/ok_front and test/{ok_front,def_front}; see data_manifests/castings.yaml for where they come from.
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/lite0.yaml   # ImageNet features of EfficientNet-Lite0 (extra `image`)
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
