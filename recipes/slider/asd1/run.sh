#!/usr/bin/env bash
# Sliders in the layout of DCASE 2020, autoencoders beside embeddings with inlier models: bash run.sh [--conf FILE] [a.b=c ...]
# All options: bash run.sh --help.  Defaults:
set -euo pipefail
conf=conf/slider.yaml   # synthetic recordings; conf/recordings.yaml reads those at --data_root
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
exec "${PYTHON}" -m dcase_asd run --recipe . --conf "${conf}" "$@"
