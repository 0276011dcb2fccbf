"""Stage 7: averaging, voting, selection."""
