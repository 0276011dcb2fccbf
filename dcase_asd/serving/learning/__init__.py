"""From normal recordings to a fitted model with a threshold: gathering, training, cross-fitting, calibration, the promise.

Reads windows of recordings. ``budget.py`` alone reads a clock.
"""
