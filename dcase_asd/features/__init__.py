"""Stage 2: features, computed once and kept memory-mapped.

Reads the manifest and the raw files; writes one :class:`~dcase_asd.features.store.FeatureStore` per machine and split.
To add a feature: one module here with ``INFO``, ``Config`` and a class with ``compute(waveform) -> [frame, ...]``.
"""
