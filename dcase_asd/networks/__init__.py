"""Pure torch modules: no training, no files.

Reads and writes nothing; tensors in, tensors out.
To add a network: one module here. What it loses by is said in ``training``, what it serves in ``extractors`` and ``detectors``.
"""
