"""One training loop for everything that learns: outlier exposure, flows trained with it, auto-encoders.

Reads batches from a source that derives each from (seed, step); writes checkpoints and ``losses.csv`` into a work folder.
To train something: a module whose ``forward(batch)`` returns named loss terms, and a
:class:`~dcase_asd.training.loop.BatchSource`. To add a term on the layer-4 map: one module for
:class:`~dcase_asd.training.objective.Objective`.
"""
