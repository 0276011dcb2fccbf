#!/usr/bin/env bash
# The tables behind the default of `dcase-asd fit`: bash trials.sh > TRIALS.md, or some sections of it: bash trials.sh members alarms
# Needs $DCASE_ASD_DATA (fan_state, mimii_fan_id00, dcase2020_id00), $DCASE_ASD_WEIGHTS (network, others), and the demo corpus of
# ../../synthetic/asd1 (stage 0), or $DCASE_ASD_SYNTHETIC in its place. All sections: about a quarter of an hour on one core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ../../setup.sh
made=$(find ../../synthetic/asd1/downloads -maxdepth 2 -path '*synthetic_demo*/corpus' 2>/dev/null | head -n 1 || true)
synthetic="${DCASE_ASD_SYNTHETIC:-${made}}"
: "${DCASE_ASD_DATA:?}" "${DCASE_ASD_WEIGHTS:?}" "${synthetic:?run stage 0 of ../../synthetic/asd1}"
weights="${DCASE_ASD_WEIGHTS}"
unset DCASE_ASD_WEIGHTS   # without: the plain default; --weights adds the network

trial() { echo; echo '```text'; echo "dcase-asd trial $*" | sed "s:${weights}:WEIGHTS:"; echo '```'; echo; }
on_synthetic() { trial SYNTHETIC year=2023 ground_truth=ground_truth --corpus dcase "$@"
  "${PYTHON}" -m dcase_asd trial "${synthetic}" year=2023 ground_truth=ground_truth --corpus dcase "$@"; }
on_real() { trial DATA 'exclude_values=[other]' "$@"
  "${PYTHON}" -m dcase_asd trial "${DCASE_ASD_DATA}" 'exclude_values=[other]' "$@"; }
alarms_only() { sed '/^| Variant/,/^$/d'; }
variants() { local m; for m in "$@"; do printf -- '--variant\n%s:members=%s\n' "${m}" "${m}"; done; }
readarray -t plain < <(variants level_nearest shape_nearest shape_gaussian level_nearest+shape_nearest \
  level_nearest+shape_gaussian shape_nearest+shape_gaussian)
mixture="members.shape_gaussian.detector.name=gmm,members.shape_gaussian.detector.n_components=[2]"
plain+=(--variant "mixture_for_gaussian:${mixture}")
readarray -t sound < <(variants sound_nearest sound_gaussian level_nearest+shape_gaussian+sound_gaussian \
  shape_nearest+shape_gaussian+sound_nearest+sound_gaussian)
statistics="members.shape_nearest.extractor.statistics=[mean],members.shape_gaussian.extractor.statistics=[mean]"
readarray -t features < <(printf -- '--variant\n%s\n' default pool_max:aggregation=max \
  pool_upper_mean:aggregation=upper_mean "mean_only:${statistics}" bands_64:fronts.shape.n_mels=64 \
  window_128ms:fronts.shape.window_s=0.128 levels_kept:fronts.shape.standardise=none)
exposed=(--variant default:folds=2 --variant "without:folds=2,members=level_nearest+shape_nearest+shape_gaussian"
  --variant "others_nearest:folds=2,members=others_nearest")
network=(--weights "${weights}/mn04_as_mAP_432.pt")
few=(--normals 8 --first-only)

section_members() {
  echo; echo "## Compared on: members"
  on_synthetic --no-alarms --variant default "${plain[@]}"
  echo; echo "With eight recordings of one condition:"
  on_synthetic --no-alarms "${few[@]}" --variant default "${plain[@]}"
  echo; echo "A public set with one anomaly; 25 of its 75 normals are tested with:"
  on_real --machines dcase2020_id00 --hold-out 0.33 --no-alarms --variant default "${plain[@]}"
}
section_network() {
  echo; echo "## Compared on: members with the pretrained network"
  on_synthetic --no-alarms "${network[@]}" --variant default "${plain[@]}" "${sound[@]}"
  on_synthetic --no-alarms "${network[@]}" "${few[@]}" --variant default "${plain[@]}" "${sound[@]}"
}
section_features() {
  echo; echo "## Compared on: features and pooling"
  on_synthetic --no-alarms "${features[@]}"
  on_synthetic --no-alarms "${few[@]}" "${features[@]}"
}
section_others() {
  echo; echo "## Outlier exposure, against the other machines of the corpus, three seeds"
  on_synthetic --no-alarms --machines ToyCar,bearing,fan,slider,valve --seeds 0,1,2 --others "${exposed[@]}"
  on_real --machines fan_state,mimii_fan_id00 --seeds 0,1,2 --no-alarms --others "${exposed[@]}"
}
section_reported() {
  echo; echo "## Reported on: three seeds"
  on_real --machines fan_state,mimii_fan_id00 --seeds 0,1,2 --no-alarms "${network[@]}" --variant default "${plain[@]}" "${sound[@]}"
  on_real --machines fan_state,mimii_fan_id00 --seeds 0,1,2 --no-alarms "${features[@]}" \
    --variant nearest:members=shape_nearest --variant nearest_levels_kept:members=shape_nearest,fronts.shape.standardise=none \
    --variant nearest_bands_64:members=shape_nearest,fronts.shape.n_mels=64
}
section_alarms() {
  echo; echo "## False alarms: promised, and found on normal recordings that were not heard"; echo
  echo "\"kept\": so many alarms or more would not be rarer than 2.5 % if the promise held (beta-binomial; fewer break no promise)."
  on_synthetic --false-alarms 1/10 | alarms_only
  echo; echo "Six recordings of one condition, one in a hundred wanted; nothing is promised for the second, which was not heard:"
  on_synthetic --false-alarms 1/100 --normals 6 --first-only | alarms_only
  on_real --false-alarms 1/100 --machines fan_state,mimii_fan_id00 | alarms_only
  on_real --false-alarms 1/100 --machines fan_state,mimii_fan_id00 "${network[@]}" | alarms_only
  on_real --false-alarms 1/10 --machines dcase2020_id00 --hold-out 0.33 | alarms_only
}

cat <<'T'
<!-- Generated by trials.sh; edits are lost. -->
# Why `dcase-asd fit` takes what it takes, and what its promise is worth

AUC in per cent with 95 % jackknife intervals over clips. Members were compared on simulated machines, with many and with few
recordings, and on one public set with a single anomaly. Differences among the better combinations lie inside their intervals: the
Gaussian alone is as good there as the default, which keeps the nearest neighbour (it needs no covariance) and the level (the
simulated recordings each have a gain of their own, so that there it can only harm; the public set's anomaly is found by it).
The desk fan in two sessions (fan_state) and MIMII fan id_00 report the choice but are no unseen sets: their figures were known when
it was made, the level was kept after MIMII's faults were seen to be louder than its normals, and Student's bound on the
threshold was added after false alarms on fan_state. Features and pooling were set before and not chosen here: 64 bands would be
better on the simulated machines (by 2 points, inside the intervals) and slightly worse on MIMII; the challenge's 128 stay. Outlier
exposure, which `--others` adds, neither helps nor harms beyond the intervals in three seeds, and is worse than the rest alone. A perfect
separation has a jackknife interval of no width; that is no certainty, the sets are small (fan_state: 6 normals and 8 faults to
score, mimii_fan_id00: 8 and 20).
T
if [ "$#" -eq 0 ]; then set -- members network features others reported alarms; fi
for name in "$@"; do "section_${name}"; done
