"""Stage 8: official metrics, intervals, report; the only layer that reads labels."""
