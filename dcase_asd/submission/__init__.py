"""Stage 9: challenge files written and validated."""
