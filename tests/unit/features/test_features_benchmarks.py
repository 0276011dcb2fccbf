"""The benchmark runner: names, tables, JSON. Times themselves are never asserted."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _run(*arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_benchmark_is_listed_with_its_description():
    done = _run("-m", "tests.benchmarks", "--list")
    assert done.returncode == 0, done.stderr
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"frontend", "stage2"} <= listed
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())


def test_an_unknown_name_is_a_usage_error():
    done = _run("-m", "tests.benchmarks", "frontent")
    assert done.returncode == 2
    assert "unknown benchmark frontent; known: " in done.stderr


def test_rows_are_printed_and_written_as_json(tmp_path):
    script = (
        "import sys, types; import tests.benchmarks.__main__ as m; from tests.benchmarks import Row\n"
        "rows = [Row(name='a', ours_s=0.5, peer_s=2.0, ratio=4.0, target='>= 3'),\n"
        "        Row(name='b', ours_s=3.0, peer_s=1.0, ratio=3.0, target='<= 2'),\n"
        "        Row(name='c', ours_s=10.0, peer_s=5.0, ratio=2.0, unit='MB')]\n"
        "m._names = lambda: ['fake']\n"
        "m._load = lambda name: types.SimpleNamespace(DESCRIPTION='made up', run=lambda: rows)\n"
        "sys.exit(m.main(['--json', sys.argv[1]]))\n"
    )
    done = _run("-c", script, str(tmp_path / "r.json"))
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.splitlines() if line[:2] in {"a ", "b ", "c "}]
    assert table == [
        ["a", "500.00", "ms", "2.00", "s", "4.00", ">=", "3", "met"],
        ["b", "3.00", "s", "1.00", "s", "3.00", "<=", "2", "NOT", "met"],
        ["c", "10.00", "MB", "5.00", "MB", "2.00"],
    ]
    assert [row["met"] for row in json.loads((tmp_path / "r.json").read_text())["fake"]] == [True, False, None]
