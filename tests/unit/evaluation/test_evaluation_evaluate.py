"""evaluate_scores: joined by clip id, strict about its input, equal to the rules; Metrics survive JSON."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from dcase_asd.errors import DataError, FormatError, UnknownNameError
from dcase_asd.evaluation.evaluate import evaluate_scores, truth_table
from dcase_asd.evaluation.metrics import harmonic_mean
from dcase_asd.evaluation.results import Metrics
from dcase_asd.manifests.schema import Labels, Manifest

COUNTS = {("fan", "00"): (9, 4, 6, 5), ("fan", "01"): (7, 7, 7, 7), ("Ventil für Öl", "00"): (12, 3, 5, 8)}
CELLS = [("source", 0), ("source", 1), ("target", 0), ("target", 1)]


@pytest.fixture
def truth():
    rows = [
        (f"{machine}/section_{section}_{domain}_{label}_{number:04d}.wav", machine, section, domain, label)
        for (machine, section), counts in COUNTS.items()
        for (domain, label), count in zip(CELLS, counts, strict=True)
        for number in range(count)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "machine", "section", "domain", "is_anomaly"])


def scored(truth, system, *, seed=0, gain=1.0):
    noise = np.random.default_rng(seed).normal(size=len(truth))
    table = pd.DataFrame({"clip_id": truth["clip_id"], "system": system, "score": truth["is_anomaly"] * gain + noise})
    return table.sample(frac=1, random_state=seed)


def decided(scores, cut=0.5):
    return scores.assign(decision=(scores["score"] > cut).astype(int)).drop(columns="score")


def test_values_equal_scikit_learn_by_clip(truth):
    scores = scored(truth, "a")
    metrics = evaluate_scores(scores, truth, rule="dcase2022", decisions=decided(scores))
    joined = truth.merge(scores, on="clip_id")
    for (machine, section), clips in joined.groupby(["machine", "section"]):
        entry = metrics.systems["a"].machines[machine].sections[section]
        assert entry.values["auc"] == pytest.approx(roc_auc_score(clips.is_anomaly, clips.score), abs=1e-12)
        assert entry.values["average_precision"] == pytest.approx(average_precision_score(clips.is_anomaly, clips.score))
        assert entry.values["pauc"] == pytest.approx(roc_auc_score(clips.is_anomaly, clips.score, max_fpr=0.1), abs=1e-12)
        for domain in ("source", "target"):
            pair = clips[(clips.domain == domain) | (clips.is_anomaly == 1)]
            assert entry.values[f"auc_{domain}"] == pytest.approx(roc_auc_score(pair.is_anomaly, pair.score), abs=1e-12)
            own = clips[clips.domain == domain]
            expected = precision_recall_fscore_support(own.is_anomaly, own.score > 0.5, average="binary", zero_division=0.0)
            found = [entry.values[f"{name}_{domain}"] for name in ("precision", "recall", "f1")]
            assert found == pytest.approx(expected[:3])
        assert sum(entry.counts.values()) == len(clips)
        assert entry.counts["target_anomaly"] == COUNTS[machine, section][3]
        share = clips.is_anomaly.mean()
        assert (entry.values["precision_base"], entry.values["f1_trivial"]) == pytest.approx((share, 2 * share / (1 + share)))


def test_means_are_nested_harmonic_means(truth):
    system = evaluate_scores(scored(truth, "a"), truth, rule="dcase2023").systems["a"]
    keys = ("auc_source", "auc_target", "pauc")
    rows = {machine: [[s.values[k] for k in keys] for s in entry.sections.values()] for machine, entry in system.machines.items()}
    everything = np.array([row for values in rows.values() for row in values])
    assert system.score == pytest.approx(harmonic_mean(everything), abs=1e-15)
    for machine, values in rows.items():
        assert system.machines[machine].score == pytest.approx(harmonic_mean(values), abs=1e-15)
    for column, key in enumerate(keys):
        assert system.means[key] == pytest.approx(harmonic_mean(everything[:, column]), abs=1e-15)
    assert system.interval.low < system.score < system.interval.high
    assert system.interval.n == len(truth)
    assert system.official_ci95 < system.interval.half_width / 10


def test_row_order_does_not_matter(truth):
    scores = scored(truth, "a")
    expected = evaluate_scores(scores, truth, rule="own_domain")
    shuffled = evaluate_scores(scores.sample(frac=1, random_state=5), truth.sample(frac=1, random_state=6), rule="own_domain")
    assert shuffled == expected


def test_json_gives_back_an_equal_object(truth, tmp_path):
    scores = pd.concat([scored(truth, "a"), scored(truth, "β 2", seed=1)])
    metrics = evaluate_scores(
        scores, truth, rule="dcase2022", decisions=decided(scores), n_bootstrap=20, provenance={"seed": "0", "git": "abc"}
    )
    path = tmp_path / "Prüf stand" / "metrics.json"
    metrics.write(path)
    assert Metrics.read(path) == metrics
    assert Metrics.read(path).provenance == {"seed": "0", "git": "abc"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        metrics.rule = "pooled"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "rule": "pooled"}', '{"schema": 1, "systems": {}}']
)
def test_foreign_json_is_refused(text, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"metrics\.json.*metrics"):
        Metrics.read(path)
    with pytest.raises(FormatError, match="no such"):
        Metrics.read(tmp_path / "none.json")


def test_comparisons_pair_systems_in_order_or_with_a_reference(truth):
    scores = pd.concat([scored(truth, name, seed=seed, gain=1.0 + seed) for seed, name in enumerate("abc")])
    pairs = [(d.system, d.reference) for d in evaluate_scores(scores, truth, rule="dcase2022", n_bootstrap=10).differences]
    assert pairs == [("b", "a"), ("c", "a"), ("c", "b")]
    metrics = evaluate_scores(scores, truth, rule="dcase2022", n_bootstrap=50, reference="b", seed=3)
    assert [(d.system, d.reference) for d in metrics.differences] == [("a", "b"), ("c", "b")]
    gap = metrics.differences[0]
    assert gap.interval.estimate == metrics.systems["a"].score - metrics.systems["b"].score
    assert gap.interval.low <= gap.interval.high < 0.2
    with pytest.raises(UnknownNameError, match="zz"):
        evaluate_scores(scores, truth, rule="dcase2022", n_bootstrap=10, reference="zz")


def test_table_has_a_row_per_system(truth):
    scores = pd.concat([scored(truth, "a"), scored(truth, "b", seed=1)])
    metrics = evaluate_scores(scores, truth, rule="dcase2022")
    table = metrics.table()
    assert list(table.index) == ["a", "b"]
    assert table.loc["b", "fan AUC (target)"] == metrics.systems["b"].machines["fan"].means["auc_target"]
    assert table.loc["a", "official score"] == metrics.systems["a"].score
    assert table.loc["a", "low"] == metrics.systems["a"].interval.low
    own = evaluate_scores(scores, truth, rule="own_domain", interval=False).table()
    assert "official score" not in own.columns
    assert {"score (own_domain)", "fan AUC (source, own domain)"} <= set(own.columns)
    assert "low" not in own.columns


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.iloc[1:], "lack the clips"),
        (lambda s: pd.concat([s, s.iloc[[0]]]), "more than one row"),
        (lambda s: pd.concat([s, s.iloc[[0]].assign(clip_id="fan/strange.wav")]), r"does not know: fan/strange\.wav"),
        (lambda s: s.assign(score=s.score.where(np.arange(len(s)) != 3)), "not finite"),
        (lambda s: s.assign(score=s.score.replace(s.score.max(), np.inf)), "not finite"),
        (lambda s: s.assign(score=s.score.astype(object).replace(s.score.max(), "high")), "not finite numbers"),
        (lambda s: s.drop(columns="system"), "lacks the columns system"),
        (lambda s: s.iloc[:0], "no system"),
    ],
)
def test_bad_scores_are_named(truth, spoil, message):
    with pytest.raises(DataError, match=message):
        evaluate_scores(spoil(scored(truth, "a")), truth, rule="pooled")


def test_error_names_the_clip_and_the_system(truth):
    scores = scored(truth, "lone wolf")
    clip = scores["clip_id"].iloc[4]
    with pytest.raises(DataError) as caught:
        evaluate_scores(scores[scores["clip_id"] != clip], truth, rule="pooled")
    assert clip in str(caught.value)
    assert "lone wolf" in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: pd.concat([t, t.iloc[[0]]]), "more than one row"),
        (lambda t: t.assign(is_anomaly=t.is_anomaly * 2), "is_anomaly other than 0 and 1"),
        (lambda t: t.assign(domain="here"), "domain other than"),
        (lambda t: t.assign(domain="unknown"), "unknown domain, which dcase2022 needs.*pooled"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.drop(columns=["domain", "section"]), "lacks the columns section, domain"),
        (lambda t: t[t.is_anomaly == 0], "lone|one class|does not know"),
    ],
)
def test_bad_truth_is_named(truth, spoil, message):
    with pytest.raises(DataError, match=message):
        evaluate_scores(scored(truth, "a"), spoil(truth), rule="dcase2022")


def test_decisions_must_fit_the_scores(truth):
    scores = scored(truth, "a")
    with pytest.raises(DataError, match="decisions have no scores for the systems b"):
        evaluate_scores(scores, truth, rule="pooled", decisions=decided(scores.assign(system="b")))
    with pytest.raises(DataError, match="decision"):
        evaluate_scores(scores, truth, rule="pooled", decisions=decided(scores).assign(decision=0.9))
    with pytest.raises(DataError, match="decisions lack the clips"):
        evaluate_scores(scores, truth, rule="pooled", decisions=decided(scores).iloc[2:])


def test_unknown_rule_names_the_nearest(truth):
    with pytest.raises(UnknownNameError, match="did you mean"):
        evaluate_scores(scored(truth, "a"), truth, rule="dcase22")


def test_a_single_anomaly_can_be_evaluated_without_an_interval(truth, caplog):
    few = truth[(truth["machine"] == "fan") & ((truth["is_anomaly"] == 0) | (truth["clip_id"].str.endswith("source_1_0000.wav")))]
    scores = scored(few, "a")
    with pytest.raises(DataError, match="without an interval"):
        evaluate_scores(scores, few, rule="pooled")
    assert evaluate_scores(scores, few, rule="pooled", interval=False).systems["a"].interval is None
    with caplog.at_level("WARNING"):
        assert evaluate_scores(scores, few, rule="pooled", interval="if_possible").systems["a"].interval is None
    assert "one normal or one anomalous clip only" in caplog.text
    enough = evaluate_scores(scored(truth, "a"), truth, rule="dcase2023", interval="if_possible")
    assert enough == evaluate_scores(scored(truth, "a"), truth, rule="dcase2023")


def test_truth_comes_from_manifest_and_labels():
    base = {"path": "x.wav", "kind": "audio", "subset": "dev", "section": "00", "n_samples": 1, "n_channels": 1}
    base |= {"sample_rate_hz": 16000, "sha256": "0"}
    clips = [("a", "train", "source"), ("b", "test", "unknown"), ("c", "test", "unknown")]
    manifest = Manifest.from_rows({**base, "clip_id": i, "machine": "fan", "split": s, "domain": d} for i, s, d in clips)
    labels = [{"clip_id": "c", "is_anomaly": 1, "domain": "target"}, {"clip_id": "b", "is_anomaly": 0, "domain": "source"}]
    table = truth_table(manifest, Labels.from_rows(labels))
    assert table.to_numpy().tolist() == [["b", "fan", "00", "source", 0], ["c", "fan", "00", "target", 1]]
    with pytest.raises(DataError, match="no row for the test clips b"):
        truth_table(manifest, Labels.from_rows(labels[:1]))
