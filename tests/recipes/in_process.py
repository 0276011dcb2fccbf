"""A recipe run in this process, one job at a time: what ``python -m dcase_asd run`` does after reading its options."""

from __future__ import annotations

from dcase_asd.pipeline.command import run_recipe
from dcase_asd.pipeline.recipe import RunOptions, plan_from


def run_in_process(
    options: RunOptions, *, nj: int = 1, executor: str = "local", address: str = "", verbose: int = 0, **plan: object
) -> None:
    """Run; ``plan`` are the options of ``plan_from``."""
    run_recipe(
        options,
        plan=plan_from(**plan),  # type: ignore[arg-type]
        nj=nj,
        device="cpu",
        executor=executor,
        address=address,
        list_only=False,
        resume=True,
        verbose=verbose,
        argv=["run"],
    )
