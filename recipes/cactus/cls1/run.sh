#!/usr/bin/env bash
# Aerial cactus pictures to classifiers, their vote and the answers for the unlabelled pictures:
#   bash run.sh --data_root DIR [--stage N] [--conf FILE] [a.b=c ...]
# DIR holds train.csv, train/, sample_submission.csv and test/; see data_manifests/cactus.yaml for where they come from.
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/all.yaml   # needs ImageNet weights of ResNet-18; conf/lite0.yaml: those that an installed package brings
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
