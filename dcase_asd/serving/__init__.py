"""Bundles and scoring of own recordings."""
