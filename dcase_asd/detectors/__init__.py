"""Stage 5: inlier models, one file a detector.

Reads embeddings of normal training segments; writes ``config.json`` and ``tensors.safetensors``.
To add a detector: one module here with ``INFO``, ``Config`` and a subclass of :class:`~dcase_asd.detectors.base.Detector`;
contract tests, ``dcase-asd list`` and the docs table pick it up.
"""
