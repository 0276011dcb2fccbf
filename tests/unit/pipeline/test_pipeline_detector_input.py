import numpy as np
import pytest

from dcase_asd.errors import ConfigError, DataError
from dcase_asd.extractors.outlier_exposure import Config
from dcase_asd.features.segments import Embeddings, SegmentMeta
from dcase_asd.pipeline.stages.detectors import detector_input


def _embeddings(*, maps):
    n = 3
    meta = SegmentMeta(
        clip_id=np.array(["a", "b", "c"]),
        section=np.array(["00"] * n),
        domain=np.array(["source"] * n),
        attributes=np.array([""] * n),
        start_s=np.zeros(n),
    )
    rng = np.random.default_rng(0)
    feature_map = rng.normal(size=(n, 2, 4, 5)).astype(np.float32) if maps else None
    return Embeddings(rng.normal(size=(n, 7)).astype(np.float32), feature_map, None, meta)


def _wish(name, read):
    return {"detector": {"name": name}, "entry": {"input": read, "extractor": "oe"}}


def test_rows_are_the_map_averaged_over_time_frequency_kept():
    embeddings = _embeddings(maps=True)
    rows = detector_input(embeddings, _wish("knn", "rows"))
    assert rows.shape == (3, 8)
    assert rows[1, 1 * 4 + 2] == pytest.approx(embeddings.map[1, 1, 2].mean())
    assert detector_input(embeddings, _wish("knn", "auto")) is embeddings.vector


def test_rows_need_a_map_and_a_detector_of_vectors():
    with pytest.raises(DataError, match="set return_map: true on the extractor"):
        detector_input(_embeddings(maps=False), _wish("knn", "rows"))
    with pytest.raises(DataError, match="reads map, not rows"):
        detector_input(_embeddings(maps=True), _wish("patchcore", "rows"))


def test_an_earlier_layers_map_excludes_a_flow():
    assert Config(map_layer=2, return_map=True).map_layer == 2
    for given in ({"map_layer": 2}, {"map_frames": 1}):
        with pytest.raises(ConfigError, match="a flow is trained on the whole map of layer 4"):
            Config(flow_weight=1e-7, **given)
    with pytest.raises(ConfigError, match="map_layer 1 to 4"):
        Config(map_layer=5)
