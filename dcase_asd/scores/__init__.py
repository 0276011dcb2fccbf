"""Stage 6: pooling of segment scores to clips, normalisation, thresholds."""
