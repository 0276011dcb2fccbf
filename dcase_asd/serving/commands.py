"""What the verbs ``fit``, ``score``, ``update`` and ``info BUNDLE`` do and print."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import click

from dcase_asd import config as configs
from dcase_asd.errors import UsageError
from dcase_asd.io.atomic import open_atomic, refuse_unwritable
from dcase_asd.serving.bundle import alone, refuse_target
from dcase_asd.serving.recordings import SUFFIXES
from dcase_asd.serving.scorer import COLUMNS, Scorer, Verdict

__all__ = ["fit_command", "info_command", "score_command", "update_command"]

# Recordings shown in the report: the most anomalous ones, so that the page stays small however many were scored.
_SHOWN = 12


def fit_command(
    normals: Sequence[str],
    *,
    out: str,
    also: Sequence[str],
    others: Sequence[str],
    minutes: float | None,
    conf: str,
    parameters: Mapping[str, Any],
) -> None:
    """Fit, save, and say what was chosen and what to expect."""
    refuse_target(out)
    # verbose: training takes minutes, so that what is done is said as it is done
    scorer = Scorer(config=configs.load_yaml(conf) if conf else None, verbose=True, **parameters)
    scorer.fit(normals, also=also or None, others=others or None, minutes=minutes)
    scorer.save(out)
    _tell_rest(scorer, out)


def update_command(path: str, normals: Sequence[str], *, also: Sequence[str], out: str) -> None:
    """Load, update, save."""
    if not normals and not also:
        raise UsageError("nothing to add: give recordings, or --also recordings of the second condition")
    refuse_target(out or path)
    with alone(path):
        scorer = Scorer.load(path).set_params(verbose=True).update(normals, also=also or None)
        scorer.save(out or path)
    _tell_rest(scorer, out or path)


def score_command(path: str, recordings: Sequence[str], *, csv_out: str, report: str) -> int:
    """Score, write the table row by row and the report; return 1 if a recording could not be used, else 0."""
    _refuse_outputs(path, recordings, csv_out=csv_out, report=report)
    scorer = Scorer.load(path)
    shown: list[Verdict] = []
    if csv_out:
        with open_atomic(csv_out) as stream:
            count, alarms = _write(stream, scorer.verdicts(recordings), shown if report else None)
    else:
        count, alarms = _write(sys.stdout, scorer.verdicts(recordings), shown if report else None)
    for skipped in scorer.skipped_:
        click.echo(f"not scored: {skipped}", err=True)
    click.echo(f"{count} recordings scored, {alarms} anomalous, {len(scorer.skipped_)} not usable", err=True)
    if report:
        from dcase_asd.serving.page import write_page

        write_page(report, scorer, shown, count=count, alarms=alarms)
        click.echo(f"report: {report}", err=True)
    if not count and not scorer.skipped_:
        raise UsageError(f"no recordings in {', '.join(recordings)}; wav, flac, ogg and mp3 are read")
    return 1 if scorer.skipped_ else 0


def _refuse_outputs(path: str, recordings: Sequence[str], *, csv_out: str, report: str) -> None:
    """Raise ``UsageError`` if a table or page cannot be written, or would be written over a recording, the bundle or each other.

    ``--csv *.wav`` names the first recording as the table: a name with the ending of a recording is refused whatever is there.
    """
    given = {Path(text).resolve() for text in (path, *recordings)}
    for option, text in (("--csv", csv_out), ("--report", report)):
        if not text:
            continue
        target = Path(text)
        refuse_unwritable(target)
        if target.suffix.lower() in SUFFIXES or (target.resolve() in given and target.exists()):
            raise UsageError(f"{option} {text}: would be written over a recording or the bundle; give another name")
        if Path(path).resolve() in target.resolve().parents:
            raise UsageError(f"{option} {text}: lies in the bundle; give another place")
    if csv_out and report and Path(csv_out).resolve() == Path(report).resolve():
        raise UsageError(f"--csv and --report are both {csv_out}; give two names")


def info_command(path: str) -> None:
    """Describe a bundle."""
    scorer = Scorer.load(path)
    model, calibration, normals = scorer._fitted()
    n_segments = len(normals.segments[normals.reference].window)
    click.echo(f"bundle {path}")
    click.echo(f"  normal windows {len(normals.names)}, segments {n_segments}, threshold {calibration.threshold.value:.6g}")
    for name, member in model.fronts.config.members.items():
        click.echo(f"  {name}: {member.detector['name']} on {member.extractor['name']} of {member.front}")
    for line in scorer.advice_:
        click.echo(f"  {line}")


def _tell_rest(scorer: Scorer, path: str) -> None:
    for skipped in scorer.skipped_:
        click.echo(f"left out: {skipped}", err=True)
    click.echo(f"bundle: {path}")


def _write(stream: IO[str], verdicts: Iterable[Verdict], shown: list[Verdict] | None) -> tuple[int, int]:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = alarms = 0
    for verdict in verdicts:
        row = verdict.row
        writer.writerow([_cell(name, row[name]) for name in COLUMNS])
        count, alarms = count + 1, alarms + verdict.decision
        if shown is not None:
            shown.append(verdict)
            shown.sort(key=lambda v: -v.score)
            del shown[_SHOWN:]
    return count, alarms


def _cell(name: str, value: Any) -> str:
    if name == "score":
        return repr(float(value))  # every bit
    if isinstance(value, float):
        return "" if value != value else f"{value:.{1 if name.endswith('hz') or name == 'percentile' else 3}f}"  # noqa: PLR0124 - NaN
    return str(value)
