"""Stages, fingerprints, runner, executors."""
