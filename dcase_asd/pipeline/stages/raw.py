"""Stage 0: raw data on disk, synthesised, downloaded, or already there."""

from __future__ import annotations

from pathlib import Path

from dcase_asd.errors import StageError
from dcase_asd.io.atomic import write_json
from dcase_asd.pipeline.stage import Context, Stage, Unit

__all__ = ["CORPUS_FOLDER", "RawStage"]

#: Sub-folder of the stage's output that is the data root of what was made or fetched.
CORPUS_FOLDER = "corpus"


class RawStage(Stage):
    """Makes or fetches the corpus; with ``raw.source: none`` it only records that data lie at ``--data_root``."""

    number = 0
    name = "raw"
    reads = "nothing, or public records"
    writes = "recordings on disk"
    version = 1

    def units(self, context: Context) -> list[Unit]:
        """One unit."""
        return [Unit("", config=context.config["raw"])]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Synthesise or download into ``out/corpus``."""
        raw = unit.config
        if raw["source"] == "none":
            write_json(out / "external.json", {"note": "raw data are read from --data_root (or DCASE_ASD_DATA)"})
        elif raw["source"] == "synthesise":
            from dcase_asd.synthesis import synthesise

            options = {} if raw["difficulty"] is None else {"difficulty": raw["difficulty"]}
            synthesise(
                out / CORPUS_FOLDER,
                size=raw["size"],
                seed=raw["seed"],
                machines=raw["machines"],
                layout=raw["layout"],
                nj=context.resources.nj,
                **options,
            )
        else:
            from dcase_asd.download.corpus import download

            # the work folder survives an interruption: what has arrived is not fetched again
            download(raw["year"], machines=raw["machines"], dest=work / CORPUS_FOLDER, nj=max(context.resources.nj, 2))
            (work / CORPUS_FOLDER).rename(out / CORPUS_FOLDER)

    def check(self, context: Context, out: Path) -> None:
        """Something must be there."""
        if context.config["raw"]["source"] != "none" and not any((out / CORPUS_FOLDER).rglob("*.*")):
            raise StageError(f"{out}: no file was made; see the log")
