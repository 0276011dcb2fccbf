"""Every row of the table of faults names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def rows() -> list[list[str]]:
    lines = (HERE / "README.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]


def test_every_row_has_its_test() -> None:
    assert len(rows()) > 15
    for fault, *_, tests in rows():
        named = re.findall(r"`(?:([\w/.]+)::)?(test_\w+)`", tests)
        assert named, fault
        for file, name in named:
            text = (ROOT / (file or "tests/faults/test_faults.py")).read_text(encoding="utf-8")
            assert f"def {name}(" in text, f"{fault}: {name}"


def test_every_test_of_a_fault_has_its_row() -> None:
    table = (HERE / "README.md").read_text(encoding="utf-8")
    files = [path for path in HERE.glob("test_*.py") if path != Path(__file__)]
    tests = [name for path in files for name in re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)]
    assert [name for name in tests if f"{name}`" not in table] == []
