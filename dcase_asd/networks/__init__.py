"""Pure torch modules: no training, no files."""
