"""The detector contract, run for every file in ``dcase_asd/detectors``; see ``material.py`` for what a detector may set."""

from __future__ import annotations

import ast
import json
import os
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from material import (
    ROOT,
    Case,
    batch,
    detector_cases,
    fitted,
    meta,
    normal_segments,
    outliers,
    planted,
    positives,
    state_bytes,
    training,
)

from dcase_asd import registry
from dcase_asd.detectors.base import Batch, Detector, LabelledBatch, Scores, save_detector, score_alike
from dcase_asd.errors import DataError, FormatError, NotFittedError, TrainingError
from dcase_asd.features.segments import SegmentMeta

pytestmark = pytest.mark.parametrize("case", detector_cases(), ids=lambda case: f"{case.name}-{case.kind}")

#: Relative tolerance of what may differ by summation order in single precision only (architecture, section 5).
ROUNDING = 1e-5


def _test_segments(case: Case, n: int = 23) -> np.ndarray:
    return np.concatenate([normal_segments(case.shape, n, seed=11), outliers(case.shape, 5, seed=12)])


def _all(scores: Scores) -> dict[str, np.ndarray]:
    named = {"score": scores.score, **scores.parts}
    return named if scores.map is None else {**named, "map": scores.map}


def _assert_close(found: Scores, expected: Scores) -> None:
    for name, value in _all(expected).items():
        # scores may cross zero (log-likelihoods), so the tolerance is relative to their typical size
        np.testing.assert_allclose(
            _all(found)[name], value, rtol=ROUNDING, atol=ROUNDING * float(np.abs(value).mean()), err_msg=name
        )


def _rows(scores: Scores, rows: np.ndarray) -> Scores:
    at = None if scores.map is None else scores.map[rows]
    return Scores(scores.score[rows], at, {name: value[rows] for name, value in scores.parts.items()})


def test_form_of_scores(case: Case) -> None:
    x = _test_segments(case)
    scores = fitted(case).score(x)
    for name, value in {"score": scores.score, **scores.parts}.items():
        assert value.shape == (len(x),), name
        assert value.dtype == np.float64, name
        assert np.isfinite(value).all(), name
    if scores.map is not None:
        assert scores.map.ndim == 3
        assert len(scores.map) == len(x)
        assert np.isfinite(scores.map).all()
    assert len(scores.parts) != 1, "a single combination leaves parts empty"
    for name in scores.parts:
        assert re.fullmatch(r"[a-z_]+=[^,=]+(,[a-z_]+=[^,=]+)*", name), f"part {name!r} is not of the form fit_set=both,k=4"
    if scores.parts:
        np.testing.assert_array_equal(scores.score, next(iter(scores.parts.values())), "score is the first part in grid order")


def test_planted_outliers_score_higher(case: Case) -> None:
    normal, odd = normal_segments(case.shape, 60, seed=21), planted(case, 60, seed=22)
    detector = fitted(case)
    low, high = detector.score(normal), detector.score(odd)
    for name, value in {"score": low.score, **low.parts}.items():
        other = {"score": high.score, **high.parts}[name]
        auc = float((other[:, None] > value[None, :]).mean())
        assert auc > 0.9, f"{name}: AUC {auc:.3f}; higher must mean more anomalous"


def test_score_does_not_depend_on_the_batch(case: Case) -> None:
    x = _test_segments(case)
    detector = fitted(case)
    whole = detector.score(x)
    for rows in (np.array([0]), np.array([len(x) - 1]), np.arange(3, 10)):
        _assert_close(detector.score(x[rows]), _rows(whole, rows))


def test_permuting_segments_permutes_scores(case: Case) -> None:
    x = _test_segments(case)
    order = np.random.default_rng(0).permutation(len(x))
    detector = fitted(case)
    _assert_close(detector.score(x[order]), _rows(detector.score(x), order))


def test_same_seed_same_bits_whatever_the_global_generators(case: Case) -> None:
    import torch

    states = []
    for disturbance in (1, 2):
        random.seed(disturbance)
        np.random.seed(disturbance)  # noqa: NPY002 - the global generator is what is under test
        torch.manual_seed(disturbance)
        detector = case.make()
        detector.fit(training(case), seed=5)
        states.append(state_bytes(detector))
    assert states[0] == states[1]


def test_saved_and_loaded_in_a_fresh_process_gives_the_same_bits(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "détecteur un"
    x = _test_segments(case)
    detector = fitted(case)
    save_detector(folder, case.name, detector)
    np.save(tmp_path / "x.npy", x)
    script = Path(__file__).with_name("score_in_fresh_process.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(folder), str(tmp_path / "x.npy"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = detector.score(x)
    assert np.load(tmp_path / "score.npy").tobytes() == expected.score.tobytes()
    assert np.load(tmp_path / "parts.npy").tobytes() == np.array(list(expected.parts.values())).tobytes()
    if expected.map is not None:
        assert np.load(tmp_path / "map.npy").tobytes() == expected.map.tobytes()


def test_state_has_the_memory_order_of_a_loaded_one(case: Case) -> None:
    # a product with an array in the other order may differ in its last bits
    state = fitted(case).state()
    assert [name for name, value in state.items() if not value.flags.c_contiguous] == []


def test_one_segment_alone_gets_the_bits_it_gets_among_others(case: Case) -> None:
    detector, x = fitted(case), _test_segments(case)
    every = score_alike(detector, x).score
    assert every[:1].tobytes() == score_alike(detector, x[:1]).score.tobytes()


def test_saved_folder_holds_json_and_safetensors_only(case: Case, tmp_path: Path) -> None:
    save_detector(tmp_path, case.name, fitted(case))
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "tensors.safetensors"]
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["name"] == case.name
    raw = (tmp_path / "tensors.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    # every byte is accounted for by a plain tensor: there is no room for a pickle
    assert {entry["dtype"][0] for name, entry in header.items() if name != "__metadata__"} <= set("FIUB")
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    assert 8 + int.from_bytes(raw[:8], "little") + end == len(raw)


def test_score_changes_nothing(case: Case) -> None:
    import torch

    detector = fitted(case)
    modules = [m for value in vars(detector).values() if isinstance(value, torch.nn.Module) for m in value.modules()]
    x = _test_segments(case)

    def world() -> list[object]:
        legacy = np.random.get_state()  # noqa: NPY002 - the global generator is what is under test
        return [
            state_bytes(detector),
            random.getstate(),
            (legacy[0], legacy[1].tobytes(), *legacy[2:]),
            torch.random.get_rng_state().numpy().tobytes(),
            [m.training for m in modules],
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            x.tobytes(),
        ]

    before = world()
    first = detector.score(x)
    assert world() == before
    again = detector.score(x)
    assert {k: v.tobytes() for k, v in _all(first).items()} == {k: v.tobytes() for k, v in _all(again).items()}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_values_are_refused(case: Case, bad: float) -> None:
    x = normal_segments(case.shape, 6, seed=31)
    x.reshape(6, -1)[4, 2] = bad
    with pytest.raises(DataError, match="4"):
        fitted(case).score(x)
    n = case.n_train
    spoilt = normal_segments(case.shape, n, seed=1)
    spoilt.reshape(n, -1)[4, 2] = bad
    with pytest.raises(DataError, match="4"):
        case.make().fit(lambda: [batch(case, spoilt)], seed=0)


def test_wrong_shapes_are_refused(case: Case) -> None:
    x = normal_segments(case.shape, 4, seed=31)
    for wrong in (x[0], x[..., None], np.repeat(x, 2, axis=1)):
        with pytest.raises(DataError, match=r"shape|axes"):
            fitted(case).score(wrong)
    # batches of different width within one fit
    mixed = [batch(case, x), batch(case, np.repeat(x, 2, axis=1), first=4)]
    with pytest.raises(DataError):
        case.make().fit(lambda: mixed, seed=0)


def test_too_few_segments(case: Case) -> None:
    with pytest.raises((DataError, TrainingError)):
        case.make().fit(list, seed=0)
    for n in (1, 2):
        detector = case.make()
        try:
            detector.fit(training(case, n=n, n_batches=1, n_target=0), seed=0)
        except (DataError, TrainingError) as error:
            assert len(str(error)) > 20  # noqa: PT017 - a refusal is as good as a valid state, but it must say why
        else:
            assert np.isfinite(detector.score(_test_segments(case)).score).all()


def test_a_section_without_target_segments_can_be_fitted(case: Case) -> None:
    detector = case.make()
    detector.fit(training(case, n_target=0), seed=0)
    assert np.isfinite(detector.score(_test_segments(case)).score).all()


def test_use_before_fit(case: Case) -> None:
    detector = case.make()
    with pytest.raises(NotFittedError):
        detector.score(normal_segments(case.shape, 2, seed=0))
    with pytest.raises(NotFittedError):
        detector.state()


def test_a_state_that_lacks_tensors_is_refused(case: Case) -> None:
    with pytest.raises(FormatError):
        case.make().load_state({})


def test_extreme_inputs_get_distinct_finite_scores(case: Case) -> None:
    distinct = "saturates" not in case.values
    odd = outliers(case.shape, 1, seed=41)[0]
    x = np.stack([odd * factor for factor in (1e1, 1e2, 1e3, 1e4)]).astype(np.float32)
    scores = fitted(case).score(x)
    for name, value in {"score": scores.score, **scores.parts}.items():
        assert np.isfinite(value).all(), name
        assert len(set(value.tolist())) == len(x) or not distinct, f"{name}: {value} saturates"


def test_labels_cannot_be_read(case: Case) -> None:
    assert set(SegmentMeta.__dataclass_fields__) == {"clip_id", "section", "domain", "attributes", "start_s"}
    assert set(Batch.__dataclass_fields__) == {"x", "key", "meta"}
    assert set(LabelledBatch.__dataclass_fields__) == {"x", "key", "meta", "label"}
    module = sys.modules[registry.load("detectors", case.name).implementation.__module__]
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names}
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert "Labels" not in imported
    assert not {name for name in modules | imported if name.startswith(("dcase_asd.manifests", "dcase_asd.evaluation"))}


def test_what_learns_from_labels_says_so(case: Case) -> None:
    """A detector refuses batches that lack labels it needs; one that declares nothing gives the same state with and without."""
    x = normal_segments(case.shape, case.n_train, seed=1)
    about = meta(len(x), n_target=len(x) // 10)
    plain = Batch(x, np.arange(len(x)), about)
    if case.labelled:
        with pytest.raises(DataError, match="learns from labels"):
            case.make().fit(lambda: [plain], seed=0)
        return
    told = LabelledBatch(x, np.arange(len(x)), about, np.arange(len(x)) % 2)
    states = []
    for given in (plain, told):
        detector = case.make()
        detector.fit(lambda given=given: [given], seed=0)
        states.append(state_bytes(detector))
    assert states[0] == states[1]


def test_labelled_classes_lie_on_either_side_of_zero(case: Case) -> None:
    if not case.labelled:
        pytest.skip(f"{case.name} does not learn from labels")
    normal, odd = normal_segments(case.shape, 60, seed=21), positives(case.shape, 60, seed=22)
    right = np.concatenate([fitted(case).score(normal).score <= 0, fitted(case).score(odd).score > 0])
    assert right.mean() > 0.9
    one_class = [batch(case, normal[:5])]
    with pytest.raises(DataError, match="both present"):
        case.make().fit(lambda: one_class, seed=0)


def test_info_is_complete(case: Case) -> None:
    info = registry.load("detectors", case.name).info
    for key in ("summary", "source", "cost", "strengths", "weaknesses"):
        assert getattr(info, key), f"INFO.{key} of detectors/{case.name}.py is empty"


def _incremental(case: Case) -> Detector:
    detector = case.make()
    if not detector.incremental:
        pytest.skip(f"{case.name} is not incremental")
    return detector


def test_incremental_equals_one_shot(case: Case) -> None:
    if "approximate_incremental" in case.values:
        pytest.skip(str(case.values["approximate_incremental"]))
    one, many = _incremental(case), _incremental(case)
    one.fit(training(case, n_batches=1), seed=0)
    many.fit(training(case, n_batches=17), seed=0)
    x = _test_segments(case)
    _assert_close(many.score(x), one.score(x))


def test_a_second_incremental_fit_forgets_the_first(case: Case) -> None:
    detector = _incremental(case)
    detector.fit(training(case, n_target=0), seed=9)
    detector.fit(training(case), seed=3)
    assert state_bytes(detector) == state_bytes(fitted(case))


def test_incremental_memory_does_not_grow_with_the_number_of_batches(case: Case) -> None:
    size = 200

    def peak(n_batches: int) -> int:
        detector = _incremental(case)

        def batches():
            for number in range(n_batches):
                x = normal_segments(case.shape, size, seed=100 + number)
                yield Batch(x, np.arange(number * size, (number + 1) * size), meta(size, n_target=20))

        tracemalloc.start()
        try:
            detector.fit(batches, seed=0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # imports and caches
    few, many = peak(4), peak(24)
    # 20 more batches of this size would add this much if they were kept
    kept = 20 * size * int(np.prod(case.shape)) * 4
    assert many - few < 0.2 * kept, f"peak grew from {few} to {many} bytes"
