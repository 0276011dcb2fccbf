"""Stage 8: official metrics, intervals, result tables; the only layer that reads labels.

Reads: scores (``clip_id, system, score``), truth (``clip_id, machine, section, domain, is_anomaly``), optional decisions.
Writes: :class:`~dcase_asd.evaluation.results.Metrics` as JSON and the tables made from it.
To add a challenge year: one :class:`~dcase_asd.evaluation.rules.Rule` in ``rules.py``; tables and intervals follow from it.
"""
