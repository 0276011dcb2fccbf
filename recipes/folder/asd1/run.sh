#!/usr/bin/env bash
# Own recordings to scores: folders with split.csv or train/ and test/ below $DCASE_ASD_DATA (or --data_root DIR)
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/floors.yaml   # plain comparators; conf/efficientat.yaml needs a checkpoint (EfficientAT) in $DCASE_ASD_WEIGHTS
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
