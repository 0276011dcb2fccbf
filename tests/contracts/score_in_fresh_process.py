"""Load a saved detector and score an array: ``score_in_fresh_process.py <detector folder> <x.npy> <out folder>``."""

import sys
from pathlib import Path

import numpy as np

from dcase_asd.detectors.base import load_detector

folder, source, target = map(Path, sys.argv[1:4])
scores = load_detector(folder).score(np.load(source, allow_pickle=False))
np.save(target / "score.npy", scores.score)
np.save(target / "parts.npy", np.array(list(scores.parts.values())))
if scores.map is not None:
    np.save(target / "map.npy", scores.map)
