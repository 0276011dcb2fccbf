"""Stage 0: fetch public corpora, resumable and verified."""
