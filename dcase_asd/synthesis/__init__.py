"""Stage 0: a physically motivated simulator of machine recordings.

Reads nothing; writes a corpus in the exact layout and file grammar of the DCASE 2023 Task 2 data (or DCASE 2020 for the
slider), ground truth of the evaluation machines in the organisers' evaluator layout, and ``synthesis.json``.
To add a machine: one module in ``machines/`` that assigns ``MACHINE``.
"""

from dcase_asd.synthesis.corpus import DEFAULT_DIFFICULTY, synthesise

__all__ = ["DEFAULT_DIFFICULTY", "synthesise"]
