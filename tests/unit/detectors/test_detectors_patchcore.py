"""PatchCore: distances, the weight of the image score, the map, its state."""

import numpy as np
import pytest
import torch
from map_material import normal_segments, training

from dcase_asd.detectors.patchcore import Config, PatchCore
from dcase_asd.errors import ConfigError, DataError

SHAPE = (6, 5, 7)


def _fitted(**values):
    detector = PatchCore(Config(**values))
    detector.fit(training(SHAPE, 60), seed=1)
    return detector


def _reference(bank, x, k):
    """Distances by cdist; the image score by the formula of the paper's Eq. 7, with torch's softmax."""
    patches = torch.from_numpy(x.astype(np.float64)).permute(0, 2, 3, 1).flatten(1, 2)
    points = torch.from_numpy(bank.astype(np.float64))
    scores, maps = [], []
    for one in patches:
        distance = torch.cdist(one, points)
        nearest, index = distance.min(dim=1)
        worst = int(nearest.argmax())
        around = torch.cdist(points[index[worst]][None], points)[0].topk(k, largest=False).indices
        weight = 1 - torch.softmax(distance[worst][around], dim=0)[0] if k > 1 else 1.0
        scores.append(float(weight * nearest[worst]))
        maps.append(nearest.reshape(x.shape[2:]).numpy())
    return np.array(scores), np.array(maps)


@pytest.mark.parametrize("neighbors", [1, 9])
def test_scores_and_maps_follow_the_paper(neighbors):
    detector = _fitted(ratio=0.2, neighbors=neighbors)
    x = normal_segments(SHAPE, 7, seed=9)
    x[3, :, 2, 4] += 6.0
    found = detector.score(x)
    expected, maps = _reference(detector.state()["bank"], x, neighbors)
    np.testing.assert_allclose(found.map, maps, rtol=1e-4)
    np.testing.assert_allclose(found.score, expected, rtol=1e-4)
    assert np.unravel_index(found.map[3].argmax(), (5, 7)) == (2, 4)


@pytest.mark.parametrize(("share", "n"), [(0.0, 1), (0.2, 7), (1.0, 35)])
def test_a_score_may_be_the_mean_of_the_largest_distances(share, n):
    found = _fitted(neighbors=1, top_share=share).score(normal_segments(SHAPE, 4, seed=2))
    np.testing.assert_allclose(found.score, np.sort(found.map.reshape(4, -1), axis=1)[:, -n:].mean(axis=1), rtol=1e-6)


def test_training_patches_of_the_bank_score_zero():
    detector = _fitted(ratio=1.0, neighbors=1)
    x = next(iter(training(SHAPE, 60)())).x
    assert detector.score(x).map.max() < 1e-5


def test_the_state_tells_what_it_stands_for():
    state = _fitted(ratio=0.1).state()
    assert state["bank"].shape == (210, 6)
    assert state["bank"].dtype == np.float32
    assert int(state["n_patches"][0]) == 60 * 35
    patches = np.concatenate([b.x for b in training(SHAPE, 60)()]).transpose(0, 2, 3, 1).reshape(-1, 6)
    gaps = np.linalg.norm(patches[:, None].astype(float) - state["bank"][None], axis=2).min(axis=1)
    assert gaps.max() == pytest.approx(state["covering_radius"][0], rel=1e-4)


def test_features_with_a_large_offset_keep_their_distances():
    # uncentred single precision loses 20 % at an offset of 10 and a spread of 0.01
    rng = np.random.default_rng(0)
    x = (1000.0 + 0.5 * rng.normal(size=(40, 8, 3, 3))).astype(np.float32)
    from map_material import meta

    from dcase_asd.detectors.base import Batch

    detector = PatchCore(Config(ratio=0.5, neighbors=1))
    detector.fit(lambda: [Batch(x[:30], np.arange(30), meta(30, n_target=0))], seed=0)
    expected, _ = _reference(detector.state()["bank"], x[30:], 1)
    np.testing.assert_allclose(detector.score(x[30:]).score, expected, rtol=1e-4)


def test_a_bank_of_one_patch_still_scores():
    detector = _fitted(ratio=1e-6)
    assert len(detector.state()["bank"]) == 1
    assert detector.score(normal_segments(SHAPE, 3, seed=0)).score.min() > 0


def test_maps_of_other_sizes_are_scored_and_wrong_settings_refused():
    assert _fitted().score(normal_segments((6, 3, 2), 2, seed=0)).map.shape == (2, 3, 2)
    for values in ({"ratio": 0.0}, {"ratio": 1.1}, {"limit": 0}, {"chunk": 0}, {"neighbors": 0}, {"top_share": 1.5}):
        with pytest.raises(ConfigError):
            Config(**values)
    with pytest.raises(DataError, match="0 segments"):
        PatchCore(Config()).fit(list, seed=0)
