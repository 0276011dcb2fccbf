"""Stage 0: raw data on disk, synthesised, downloaded, or already there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dcase_asd.errors import StageError
from dcase_asd.io.atomic import write_json
from dcase_asd.pipeline.stage import Context, Stage, Unit

__all__ = ["CORPUS_FOLDER", "RawStage", "external_root"]

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
        """One unit; its fingerprint holds names and sizes of the pictures that are to be corrupted."""
        raw = context.config["raw"]
        if raw["source"] != "corrupt":
            return [Unit("", config=raw)]
        from dcase_asd.pipeline.stages.manifests import listing_digest

        files = listing_digest(external_root(context))
        return [Unit("", config={**raw, "corpus": context.config["corpus"], "external_files": files})]

    def run(self, context: Context, unit: Unit, out: Path, work: Path) -> None:
        """Synthesise, corrupt or download into ``out/corpus``."""
        raw = unit.config
        if raw["source"] == "none":
            write_json(out / "external.json", {"note": "raw data are read from --data_root (or DCASE_ASD_DATA)"})
        elif raw["source"] == "corrupt":
            from dcase_asd.pipeline.settings import plugin_config
            from dcase_asd.synthesis.corruption import corrupt_corpus

            plugin, config = plugin_config("corpora", raw["corpus"])
            root = external_root(context)
            tables = plugin.implementation(config).scan(root, nj=context.resources.nj)
            n_twins = corrupt_corpus(root, out / CORPUS_FOLDER, tables=tables, kinds=raw["layout"].split("+"), seed=raw["seed"])
            context.log(f"{n_twins} corrupted twins of normal test pictures ({raw['layout']})")
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

            # into the work folder, which outlives an interruption: the next run goes on within the file
            download(
                raw["year"],
                machines=raw["machines"],
                dest=work / CORPUS_FOLDER,
                nj=max(context.resources.nj, 2),
                progress=_progress(context.log),
            )
            (work / CORPUS_FOLDER).rename(out / CORPUS_FOLDER)

    def check(self, context: Context, out: Path) -> None:
        """Something must be there."""
        if context.config["raw"]["source"] != "none" and not any((out / CORPUS_FOLDER).rglob("*.*")):
            raise StageError(f"{out}: no file was made; see the log")


def external_root(context: Context) -> Path:
    """Return the folder given as ``--data_root``; raises ``StageError`` if there is none."""
    root = context.folders.get("data_root")
    if root is None or not root.is_dir():
        raise StageError(
            f"raw data: folder {str(root) if root else '(not given)'} does not exist; give --data_root DIR or set DCASE_ASD_DATA"
        )
    return root


def _progress(log: Callable[[str], None], *, step: int = 5) -> Callable[[int, int], None]:
    """Return what logs a line for every ``step`` per cent of a download."""
    shown = 0

    def report(n_bytes: int, n_total: int) -> None:
        nonlocal shown
        percent = 100 * n_bytes // max(n_total, 1)
        if percent >= shown + step:
            shown = percent
            log(f"{percent} % of {n_total / 1e9:.2f} GB")

    return report
