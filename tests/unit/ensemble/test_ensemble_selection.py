from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dcase_asd.ensemble.selection import Selection, ensembles, select
from dcase_asd.errors import ConfigError, DataError, FormatError, UnknownNameError

#: fan and valve disagree: p wins on fan, q on valve, r is second on both.
METRICS = {"p": (0.90, 0.10), "q": (0.50, 0.80), "r": (0.80, 0.70), "s": (0.45, 0.60)}


def _table(metrics: dict = METRICS) -> pd.DataFrame:
    rows = [(name, machine, v) for name, values in metrics.items() for machine, v in zip(("fan", "valve"), values, strict=True)]
    table = pd.DataFrame(rows, columns=["system", "machine", "score"])
    return table[table["score"] != "absent"].sample(frac=1, random_state=1)


def test_by_machine_takes_each_machines_best_and_mean_rank_for_others() -> None:
    found = select(_table(), n_best=2, by="machine")
    assert found.members == {"fan": ("p", "r"), "valve": ("q", "r")}
    # mean ranks: p (1 + 4) / 2, q (3 + 1) / 2, r (2 + 2) / 2, s (4 + 3) / 2; q and r tie, the name decides
    assert found.default == ("q", "r")
    assert found.members_of("ToyDrone") == ("q", "r")


def test_overall_is_the_harmonic_mean() -> None:
    # harmonic means: p .180, q .615, r .747, s .514
    found = select(_table(), n_best=3, by="overall")
    assert found.members["fan"] == found.members["valve"] == found.default == ("r", "q", "s")


def test_mean_rank() -> None:
    found = select(_table(), n_best=20, by="mean_rank")
    assert found.default == ("q", "r", "p", "s")
    assert found.members == {"fan": found.default, "valve": found.default}


def test_row_order_and_scale_do_not_matter() -> None:
    percent = _table().assign(score=lambda t: 100 * t["score"]).iloc[::-1]
    for by in ("machine", "overall", "mean_rank"):
        assert select(percent, n_best=2, by=by) == select(_table(), n_best=2, by=by)


def test_systems_that_exist_on_one_machine_only() -> None:
    table = _table({**METRICS, "fan_speed": (0.99, "absent")}).astype({"score": float})
    found = select(table, n_best=1, by="machine")
    assert found.members["fan"] == ("fan_speed",)
    assert found.incomplete == ("fan_speed",)
    assert "fan_speed" not in found.default
    alone = table[table["system"] == "fan_speed"]
    partial = pd.concat([alone, alone.assign(system="valve_pat", machine="valve")])
    assert select(partial, by="machine").default == ()
    with pytest.raises(DataError, match="ToyDrone"):
        select(partial, by="machine").members_of("ToyDrone")
    with pytest.raises(DataError, match="no system"):
        select(partial, by="overall")


@pytest.mark.parametrize("by", ["machine", "overall", "mean_rank"])
def test_the_file_reads_back_equal(tmp_path: Path, by: str) -> None:
    path = tmp_path / "sélection 1" / "selection.json"
    found = select(_table(), n_best=2, by=by)
    found.write(path)
    assert Selection.read(path) == found


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2, "by": "machine"}', '{"schema": 1, "by": "luck"}'])
def test_damaged_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "selection.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=r"selection\.json"):
        Selection.read(path)
    with pytest.raises(FormatError):
        Selection.read(tmp_path / "missing.json")


def test_the_unselected_mean_is_always_made() -> None:
    found = select(_table(), n_best=2, by="machine")
    assert ensembles(None, machine="fan", systems=["s", "p"]) == {"all": ("p", "s")}
    assert ensembles(found, machine="fan", systems=list("srqp")) == {"all": ("p", "q", "r", "s"), "selected": ("p", "r")}
    with pytest.raises(DataError, match="lacks the selected systems q"):
        ensembles(found, machine="ToyDrone", systems=["p", "r"])
    with pytest.raises(DataError, match="no systems"):
        ensembles(found, machine="fan", systems=[])


def test_refusals() -> None:
    with pytest.raises(UnknownNameError, match="mean_rank"):
        select(_table(), by="rank")
    with pytest.raises(ConfigError, match="n_best"):
        select(_table(), n_best=0)
    with pytest.raises(DataError, match="lacking: score"):
        select(_table().drop(columns="score"))
    with pytest.raises(DataError, match="system"):
        select(_table().iloc[:0])
    for bad in (float("nan"), -0.1):
        with pytest.raises(DataError, match="row"):
            select(_table().assign(score=bad))
    with pytest.raises(DataError, match="stand once"):
        select(pd.concat([_table(), _table()]))
