#!/usr/bin/env bash
# The tables behind the default of `dcase-asd fit`: bash trials.sh > TRIALS.md
# Needs $DCASE_ASD_DATA (fan_state, mimii_fan_id00, dcase2020_id00), $DCASE_ASD_WEIGHTS, and the demo corpus of
# ../../synthetic/asd1 (stage 0), or $DCASE_ASD_SYNTHETIC in its place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
made=$(find ../../synthetic/asd1/downloads -maxdepth 2 -path '*synthetic_demo*/corpus' 2>/dev/null | head -n 1)
synthetic="${DCASE_ASD_SYNTHETIC:-${made}}"
: "${DCASE_ASD_DATA:?}" "${DCASE_ASD_WEIGHTS:?}" "${synthetic:?run stage 0 of ../../synthetic/asd1}"
weights="${DCASE_ASD_WEIGHTS}"
unset DCASE_ASD_WEIGHTS   # without: the plain default; --weights adds the network

trial() { echo; echo '```text'; echo "dcase-asd trial $*" | sed "s:${weights}:WEIGHTS:"; echo '```'; echo; }
on_synthetic() { trial SYNTHETIC year=2023 ground_truth=ground_truth --corpus dcase "$@"
  "${PYTHON}" -m dcase_asd trial "${synthetic}" year=2023 ground_truth=ground_truth --corpus dcase "$@"; }
on_real() { trial DATA 'exclude_values=[other]' "$@"
  "${PYTHON}" -m dcase_asd trial "${DCASE_ASD_DATA}" 'exclude_values=[other]' "$@"; }
network=(--weights "${weights}/mn04_as_mAP_432.pt")
members() { local m; for m in "$@"; do echo "--variant"; echo "${m}:members=${m}"; done; }
readarray -t plain < <(members level_nearest shape_nearest shape_gaussian level_nearest+shape_nearest \
  level_nearest+shape_gaussian shape_nearest+shape_gaussian)
readarray -t sound < <(members sound_nearest sound_gaussian level_nearest+shape_gaussian+sound_gaussian \
  shape_nearest+shape_gaussian+sound_nearest+sound_gaussian)
statistics="members.shape_nearest.extractor.statistics=[mean],members.shape_gaussian.extractor.statistics=[mean]"
mixture="members.shape_gaussian.detector.name=gmm,members.shape_gaussian.detector.n_components=[2]"
readarray -t features < <(printf -- '--variant\n%s\n' default "mean_only:${statistics}" bands_64:fronts.shape.n_mels=64 \
  window_128ms:fronts.shape.window_s=0.128 levels_kept:fronts.shape.standardise=none "mixture_for_gaussian:${mixture}" \
  pool_max:aggregation=max pool_upper_mean:aggregation=upper_mean)

. trials_text.sh
