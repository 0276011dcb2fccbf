"""Stages 0 to 9: what each reads and writes, when it re-runs, and who runs it.

Reads a recipe's YAML; writes ``downloads/``, ``data/``, ``dump/`` and ``exp/<tag>/``. A stage is one module in
``stages/``; it declares its number, version, units of work and inputs, and the runner does the rest. To add a stage's
sub-step, give the stage one more unit; numbers never move. An executor is one module in ``executors/`` with ``run(jobs)``.
"""
