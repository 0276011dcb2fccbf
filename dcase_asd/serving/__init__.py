"""Your own machine: recordings in, a bundle out; recordings and a bundle in, scores and decisions out.

Reads recordings (files, folders, arrays) and bundles; writes bundles, CSV and HTML. Uses the same features, extractors,
detectors and score functions as the pipeline, which it does not import: one scoring path. A new detector or extractor is
a plug-in of its own layer; ``advisor.py`` is the only place that chooses among them.
"""
