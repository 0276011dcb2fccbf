#!/usr/bin/env bash
# Wood pictures to anomaly scores of six models: bash run.sh --data_root DIR [--stage N] [--conf FILE] [a.b=c ...]
# DIR holds train/good, test/good, test/<defect>, ground_truth/<defect> (masks); the category wood of MVTec AD has this layout.
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/six.yaml   # sizes for a CPU, features of EfficientNet-Lite0 (extra `image`); conf/six_paper.yaml: those of the paper
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
