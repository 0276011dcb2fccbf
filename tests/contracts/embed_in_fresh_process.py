"""Load a saved extractor and embed an array: ``embed_in_fresh_process.py <extractor folder> <x.npy> <out folder>``."""

import sys
from pathlib import Path

import numpy as np

from dcase_asd.extractors.base import load_extractor

folder, source, target = map(Path, sys.argv[1:4])
for kind, value in zip(("vector", "map"), load_extractor(folder).embed(np.load(source, allow_pickle=False)), strict=True):
    if value is not None:
        np.save(target / f"{kind}.npy", value)
