"""Stages 3 and 4: from features to embeddings.

Reads feature stores; writes the extractor's state (stage 3) and :class:`~dcase_asd.features.segments.Embeddings` (stage 4).
To add an extractor: one module here with ``INFO``, ``Config`` and a subclass of
:class:`~dcase_asd.extractors.base.Extractor`.
"""
