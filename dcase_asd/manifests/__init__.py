"""Stage 1: one table of clips per corpus.

Reads a folder of raw data; writes ``manifest.csv`` (:class:`Manifest`, no labels) and ``labels.csv`` (:class:`Labels`,
test truth, read by ``evaluation`` alone). To add a corpus: one module here with ``INFO``, ``Config`` and a class with
``scan(root) -> (Manifest, Labels)``.
"""
