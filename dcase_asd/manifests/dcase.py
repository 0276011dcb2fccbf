"""DCASE Task 2, 2020 to 2026: development, additional training and evaluation data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dcase_asd.config import configclass
from dcase_asd.errors import ManifestError, nearest
from dcase_asd.manifests.attributes import parse_attributes
from dcase_asd.manifests.base import Corpus, Progress
from dcase_asd.manifests.clip_files import FileFacts, read_facts, summarise
from dcase_asd.manifests.corpora import CorpusSpec, corpus_spec
from dcase_asd.manifests.dcase_names import clip_key
from dcase_asd.manifests.dcase_tree import FoundClip, locate, machine_trees, read_machine
from dcase_asd.manifests.ground_truth import Truth, read_ground_truth
from dcase_asd.manifests.schema import Labels, Manifest
from dcase_asd.registry import Info

__all__ = ["INFO", "Config", "DcaseCorpus"]

INFO = Info(
    summary="DCASE Challenge Task 2 corpora, 2020 to 2026",
    implementation="DcaseCorpus",
    source="dcase.community/challenge20XX; names and folders as in nttcslab/dcase2023_task2_baseline_ae:README_legacy.md",
    input="files",
)


@configclass
class Config:
    """Which part of which year.

    Attributes
    ----------
    year : int
        2020 to 2026.
    machines : tuple of str
        Machine types to take; empty: all that are there.
    sections : tuple of str
        Sections (machine IDs in 2020) to take, two digits; empty: all.
    subsets : tuple of {"dev", "eval"}
        Development and evaluation data; one that is not on disk is left out, one at least must be there.
    ground_truth : str
        Folder in the layout of the official evaluator, or ``eval_data_list_<year>.csv``, with the truth about evaluation test
        clips; absolute or relative to the data root. Empty: they have none (unless ``test_rename/`` is there).
    """

    year: int = 2023
    machines: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    subsets: tuple[Literal["dev", "eval"], ...] = ("dev", "eval")
    ground_truth: str = ""


class DcaseCorpus(Corpus[Config]):
    """Scans one year of DCASE Task 2; the root holds ``dcase<YYYY>t2``, or is that folder itself."""

    def tables(self, root: Path, *, nj: int, progress: Progress | None) -> tuple[Manifest, Labels]:
        """Make the tables of clips and of truths.

        From 2022 on, the manifest hides domain and attributes of test clips, as the challenge hides them from systems; they
        are in the labels.

        Raises
        ------
        ManifestError
            If the corpus is not there, a name fits no grammar or contradicts its folder, a file is no recording, a machine or
            section that was asked for is missing, or the ground truth does not cover the evaluation clips.
        """
        spec = corpus_spec(f"dcase{self.config.year}")
        clips, renamed = self._find(root, spec)
        facts = read_facts([clip.path for clip in [*clips, *renamed]], nj=nj, progress=progress)
        rows = [_row(clip, fact, root=root, spec=spec) for clip, fact in zip(clips, facts, strict=False)]
        truths = self._truths(root, spec, clips=clips, renamed=renamed, facts=facts)
        return Manifest.from_rows(rows), Labels.from_rows(truths)

    def _find(self, root: Path, spec: CorpusSpec) -> tuple[list[FoundClip], list[FoundClip]]:
        clips: list[FoundClip] = []
        renamed: list[FoundClip] = []
        problems: list[str] = []
        seen: set[str] = set()
        for subset, folder in machine_trees(locate(root, spec), self.config.subsets):
            seen.add(folder.name)
            if self.config.machines and folder.name not in self.config.machines:
                continue
            tree = read_machine(folder, subset=subset, spec=spec)
            clips += tree.clips
            renamed += tree.renamed
            problems += tree.problems
        if problems:
            raise ManifestError(
                f"{len(problems)} files of {spec.title} below {root} do not fit: {summarise(problems)}. Rename or move them"
            )
        _require(self.config.machines, seen, what="machine", root=root)
        _require(self.config.sections, {clip.name.section for clip in clips}, what="section", root=root)
        if not clips:
            raise ManifestError(f"{root}: {spec.title}: no clip in {', '.join(self.config.subsets)}; expected {spec.layout}")
        return self._wanted(clips), self._wanted(renamed)

    def _wanted(self, clips: Iterable[FoundClip]) -> list[FoundClip]:
        return [clip for clip in clips if not self.config.sections or clip.name.section in self.config.sections]

    def _truths(
        self,
        root: Path,
        spec: CorpusSpec,
        *,
        clips: Sequence[FoundClip],
        renamed: Sequence[FoundClip],
        facts: Sequence[FileFacts],
    ) -> list[dict[str, Any]]:
        published = read_ground_truth(root / self.config.ground_truth) if self.config.ground_truth else {}
        by_content = _truths_by_content(renamed, facts[len(clips) :])
        rows: list[dict[str, Any]] = []
        missing: list[str] = []
        machines_with_copies = {clip.machine for clip in renamed}
        for clip, fact in zip(clips, facts, strict=False):
            if clip.split != "test":
                continue
            truth, attributes = _truth(clip, published, by_content.get((clip.machine, fact.sha256)), spec)
            if truth is not None:
                rows.append(
                    {
                        "clip_id": clip.clip_id,
                        "is_anomaly": truth.is_anomaly,
                        "domain": truth.domain,
                        "attributes": attributes,
                    }
                )
            elif published or clip.machine in machines_with_copies:
                missing.append(f"{clip.machine}/{clip.path.name}")
        if missing:
            place = self.config.ground_truth or "test_rename/"
            raise ManifestError(
                f"{len(missing)} evaluation clips have no truth in {place}: {summarise(missing)}. Complete it, or "
                f"choose machines and sections that it covers"
            )
        return rows


def _row(clip: FoundClip, fact: FileFacts, *, root: Path, spec: CorpusSpec) -> dict[str, Any]:
    hidden = clip.split == "test"
    return {
        "clip_id": clip.clip_id,
        "path": clip.path.relative_to(root).as_posix(),
        "subset": clip.subset,
        "machine": clip.machine,
        "section": clip.name.section,
        "domain": "unknown" if hidden and not spec.test_domain_visible else clip.name.domain,
        "split": clip.split,
        "attributes": {} if hidden else clip.attributes,
        **fact.columns(),
    }


def _truth(
    clip: FoundClip, published: Mapping[tuple[str, str], Truth], copy: tuple[Truth, dict[str, str]] | None, spec: CorpusSpec
) -> tuple[Truth | None, dict[str, str]]:
    if clip.name.label:
        return Truth(is_anomaly=int(clip.name.label == "anomaly"), domain=clip.name.domain), clip.attributes
    truth = published.get((clip.machine, clip_key(clip.path.name)))
    if truth is not None:
        return truth, parse_attributes(truth.attributes, keys=spec.attribute_keys)
    return copy if copy is not None else (None, {})


def _truths_by_content(
    renamed: Sequence[FoundClip], facts: Sequence[FileFacts]
) -> dict[tuple[str, str], tuple[Truth, dict[str, str]]]:
    """Truth of every renamed copy by machine and content hash: the copies carry the true name, the originals do not."""
    result: dict[tuple[str, str], tuple[Truth, dict[str, str]]] = {}
    for clip, fact in zip(renamed, facts, strict=True):
        if not clip.name.label:
            raise ManifestError(f"{clip.path}: a name in test_rename/ must say normal or anomaly")
        truth = Truth(is_anomaly=int(clip.name.label == "anomaly"), domain=clip.name.domain), clip.attributes
        if result.setdefault((clip.machine, fact.sha256), truth) != truth:
            raise ManifestError(
                f"{clip.path}: the same recording stands in test_rename/ with two different truths; give ground_truth instead"
            )
    return result


def _require(wanted: Sequence[str], found: set[str], *, what: str, root: Path) -> None:
    for name in wanted:
        if name not in found:
            raise ManifestError(
                f"{root}: no {what} {name!r}{nearest(name, found)}; there are {', '.join(sorted(found)) or 'none'}"
            )
