"""``dcase-asd evaluate``: anybody's score files against the organisers' ground truth."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="evaluate", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--year", type=int, required=True, help="Challenge year of the file names and the rule.")
@click.option("--scores", type=click.Path(path_type=Path), required=True, multiple=True, help="Folder of score files; repeat.")
@click.option("--ground-truth", type=click.Path(path_type=Path), required=True, help="Folder in the organisers' layout.")
@click.option("--rule", default=None, help="Another rule, such as own_domain; see dcase-asd list rules.")
@click.option("--csv", "csv_out", type=click.Path(path_type=Path), default=None, help="Write the official result layout here.")
@click.option("--json", "json_out", type=click.Path(path_type=Path), default=None, help="Write every number here.")
@click.option("--sections", is_flag=True, help="Also print a table per section (2020: machine ID).")
def command(
    *,
    year: int,
    scores: tuple[Path, ...],
    ground_truth: Path,
    rule: str | None,
    csv_out: Path | None,
    json_out: Path | None,
    sections: bool,
) -> None:
    """Evaluate score folders by a challenge rule; rows are joined by file name, never by position."""
    from dcase_asd.evaluation.organisers import evaluate_folder, name_folders
    from dcase_asd.evaluation.tables import markdown, section_table, write_official_csv

    metrics = evaluate_folder(name_folders(scores), ground_truth, year=year, rule=rule)
    for name, system in metrics.systems.items():
        interval = system.interval
        between = f", 95 % interval {100 * interval.low:.6f} .. {100 * interval.high:.6f} %" if interval else ""
        click.echo(f"{name}: {metrics.score_label} {100 * system.score:.6f} %{between}")
        click.echo("  " + ", ".join(f"{key} {100 * value:.3f}" for key, value in system.means.items()))
        if csv_out is not None:
            target = csv_out if len(metrics.systems) == 1 else csv_out.with_name(f"{csv_out.stem}_{name}{csv_out.suffix}")
            write_official_csv(target, metrics, system=name)
    if sections:
        click.echo(markdown(section_table(metrics)))
    if json_out is not None:
        metrics.write(json_out)
