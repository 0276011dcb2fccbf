"""Two small stages for tests of the runner: ``numbers`` writes one number a unit, ``sums`` adds them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from dcase_asd.errors import DataError, StageError
from dcase_asd.pipeline.stage import Context, Stage, Unit


class Numbers(Stage):
    number = 3
    name = "numbers"
    reads = "nothing"
    writes = "one number a unit"
    version = 1

    def units(self, context: Context) -> list[Unit]:
        return [Unit(f"unit/{name}", config={"value": value}) for name, value in context.config["values"].items()]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        context.log(f"writing {unit.config['value']}")
        count = work.parents[2] / "calls" / unit.name.replace("/", "_")
        count.parent.mkdir(exist_ok=True)
        count.write_text(str(int(count.read_text()) + 1) if count.exists() else "1")
        assert not list(out.iterdir())
        (out / "half.txt").write_text("half")
        if unit.config["value"] == "fail":
            raise DataError("value 'fail' was asked for; give a number")
        if unit.config["value"] == "kill" and not (work / "killed").exists():
            (work / "killed").write_text("yes")
            os.kill(os.getpid(), signal.SIGKILL)
        (out / "half.txt").unlink()
        (out / "number.txt").write_text(str(unit.config["value"]))


class Sums(Stage):
    number = 4
    name = "sums"
    reads = "numbers"
    writes = "the sum of their lengths, modulo 10"
    version = 1
    upstream = ("numbers",)
    finish_keys = ("title",)

    def units(self, context: Context) -> list[Unit]:
        del context
        return [Unit("total", inputs={"numbers": [""]})]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        del unit, work
        texts = [p.read_text() for p in sorted(context.folders["numbers"].rglob("number.txt"))]
        (out / "sum.txt").write_text(str(sum(map(len, texts)) % 10))

    def finish(self, context: Context, out: Path) -> None:
        (out / "title.txt").write_text(context.config["title"])

    def check(self, context: Context, out: Path) -> None:  # noqa: ARG002
        if context.config["title"] == "bad":
            raise StageError("the title is bad; give another")


class Last(Stage):
    number = 5
    name = "last"
    reads = "sums"
    writes = "a copy"
    version = 1
    upstream = ("sums",)

    def units(self, context: Context) -> list[Unit]:
        del context
        return [Unit("", inputs={"sums": ["total"]})]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        del unit, work
        (out / "copy.txt").write_text((context.folders["sums"] / "total" / "sum.txt").read_text())
