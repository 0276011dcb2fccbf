#!/usr/bin/env bash
# MVTec AD to anomaly scores: bash run.sh --data_root DIR [--stage N] [--conf FILE] [a.b=c ...]
# DIR holds bottle/ cable/ ... zipper/; see data_manifests/mvtec_ad.yaml for where they come from, and on what terms.
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/lite0.yaml   # PatchCore and PaDiM; conf/autoencoders.yaml: one autoencoder for all categories
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
