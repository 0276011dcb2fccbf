"""Numbers that the challenge fixes, each with the organisers' file it stands in."""

from __future__ import annotations

import sys

__all__ = ["CONFIDENCE", "EPSILON", "MAX_FPR", "YEARS"]

#: Upper false-positive rate of pAUC, every year: ``MAX_FPR`` in y-kawagu/dcase2020_task2_evaluator:evaluator.py,
#: y-kawagu/dcase2021_task2_evaluator:dcase2021_task2_evaluator.py, Kota-Dohi/dcase2022_evaluator:dcase2022_task2_evaluator.py,
#: nttcslab/dcase2023_task2_evaluator:dcase2023_task2_evaluator.py.
MAX_FPR = 0.1
#: Floor of a harmonic mean's terms and of the denominators of precision, recall and F1 (same files, 2021 on).
EPSILON = sys.float_info.epsilon
#: Confidence of the official interval: ``confidence`` in Kota-Dohi/dcase2022_evaluator:dcase2022_task2_evaluator.py.
CONFIDENCE = 0.95
#: Years with a known rule.
YEARS = (2020, 2021, 2022, 2023, 2024, 2025, 2026)
