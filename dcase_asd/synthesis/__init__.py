"""Stage 0: a physically motivated simulator of machine recordings."""
