"""What a runner that is asked to end leaves running: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

CODE = """
import sys
from dcase_asd.pipeline import command, jobs
from dcase_asd.pipeline.stage import Resources
from test_signals import write_on

def run_recipe(options, **settings):
    work = [(write_on, (options.recipe / name,)) for name in "ab"]
    jobs.execute(work, resources=Resources(nj=2, executor=sys.argv[1], address=sys.argv[2]), done=print)

command.run_recipe = run_recipe
from dcase_asd.cli import main
main(["run", "--recipe", ".", "--conf", "none.yaml"])
"""


def write_on(path: Path) -> None:
    """Say who writes, and go on writing."""
    path.write_text(str(os.getpid()))
    for number in range(600):
        path.with_suffix(".txt").write_text(str(number))
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """A process that has ended and that nobody has asked after is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize(("executor", "address"), [("local", ""), ("slurm", "local")])
def test_runner_that_is_asked_to_end_ends_its_jobs(tmp_path: Path, executor: str, address: str, name: str, code: int) -> None:
    if executor == "slurm":
        pytest.importorskip("submitit")
    environment = tiny.environment()
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), str(Path(tiny.__file__).parent), str(tiny.REPOSITORY)]
    )
    places = [tmp_path / "a.txt", tmp_path / "b.txt"]
    told = tmp_path / "stderr"
    with told.open("w") as stream:
        runner = subprocess.Popen([sys.executable, "-c", CODE, executor, address], cwd=tmp_path, env=environment, stderr=stream)
    deadline = time.monotonic() + 100
    while not all(path.is_file() for path in places) and time.monotonic() < deadline:
        assert runner.poll() is None, told.read_text()
        time.sleep(0.05)
    pids = [int(path.with_suffix("").read_text()) for path in places]
    assert all(map(alive, pids))
    runner.send_signal(getattr(signal, name))
    assert runner.wait(timeout=100) == code
    assert "interrupted; run the same command to go on" in told.read_text()
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]
