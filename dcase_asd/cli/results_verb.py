"""``dcase-asd results``: the result tables of experiments."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="results", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--sections",
    is_flag=True,
    help="Also print tables per section (2020: machine ID) for each seed, and decisions counted over all of them.",
)
@click.option("--times", is_flag=True, help="Also print the seconds that each extractor and detector took, from the logs.")
@click.argument("experiments", type=click.Path(path_type=Path), nargs=-1, required=True)
def command(experiments: tuple[Path, ...], *, sections: bool, times: bool) -> None:
    """Print the result pages of EXPERIMENTS (folders such as exp/oe, or exp for all of them) in the order given."""
    from dcase_asd.errors import FormatError
    from dcase_asd.evaluation.counted import counted_table
    from dcase_asd.evaluation.results import Metrics
    from dcase_asd.evaluation.tables import markdown, section_table
    from dcase_asd.pipeline.times import times_table

    # each page once, where it is first named
    pages = list(dict.fromkeys(page for folder in experiments for page in sorted(folder.glob("**/8_evaluate/RESULTS.md"))))
    if not pages:
        raise FormatError(
            f"{', '.join(map(str, experiments))}: no 8_evaluate/RESULTS.md below; run a recipe through stage 8 first"
        )
    for page in pages:
        click.echo(page.read_text(encoding="utf-8"))
        for path in sorted(page.parent.glob("*/*/metrics.json")) if sections else []:
            metrics = Metrics.read(path)
            click.echo(f"Seed {path.parts[-3]}, {path.parts[-2]}, rule {metrics.rule}:\n\n{markdown(section_table(metrics))}")
            counted = counted_table(metrics)
            if len(counted):
                click.echo(f"Decisions about all clips, counted together, per cent:\n\n{markdown(counted)}")
        if times:
            # exp/NAME/8_evaluate/RESULTS.md
            click.echo(
                "Seconds by the clock, one unit after the other, summed over machines, mean over seeds; a busy machine takes "
                f"longer:\n\n{times_table(page.parents[1])}"
            )
