from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dcase_asd.submission.formats import YEARS, year_format
from dcase_asd.submission.writer import Author, Dataset, SystemEntry, write_submission

LABEL = "Doe-Ray_XYZ-Lab_task2"
N_CLIPS = 4


def clip_names(year: int, section: str, domain: str | None) -> list[str]:
    if year == 2020:
        return [f"id_{section}_{i:08d}.wav" for i in range(N_CLIPS)]
    if year == 2021:
        return [f"section_{section}_{domain}_test_{i:04d}.wav" for i in range(N_CLIPS)]
    return [f"section_{section}_{i:04d}.wav" for i in range(N_CLIPS)]


def clips(year: int) -> pd.DataFrame:
    rules = year_format(year)
    rows = [
        (machine, section, domain or "unknown", name, 0.1 + i / 3 + len(machine), i % 2)
        for machine, sections in rules.evaluation.items()
        for section in sections
        for domain in rules.domains
        for i, name in enumerate(clip_names(year, section, domain))
    ]
    table = pd.DataFrame(rows, columns=["machine", "section", "domain", "file_name", "score", "decision"])
    return table.sample(frac=1.0, random_state=3)


def entry(year: int, **changes: object) -> SystemEntry:
    rules = year_format(year)
    fields: dict[str, object] = {
        "name": "Flöw on log-mel",
        "abbreviation": "flow",
        "clips": clips(year),
        "authors": [Author("Doe-Ray", "Ann", "ann@example.org", "XYZ Lab", "Köln, Germany", corresponding=True)],
        "description": {"input_sampling_rate": "16kHz", "front_end": None, "ensemble_method_subsystem_count": 2},
        "total_parameters": 11_176_512,
        "macs": 123,
        "external_datasets": [Dataset("AudioSet", "https://research.google.com/audioset/")],
        "results": {m: dict.fromkeys(rules.result_keys, 61.25) for m in rules.development},
    }
    return SystemEntry(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
def make_entry() -> Callable[..., SystemEntry]:
    return entry


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    path = tmp_path / "a report é.pdf"
    path.write_bytes(b"%PDF-1.7\nreport\n%%EOF\n")
    return path


@pytest.fixture(scope="session")
def valid_files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, bytes]]:
    """Year to the files of a valid submission of two systems."""
    result = {}
    for year in YEARS:
        folder = tmp_path_factory.mktemp(f"Übung {year}")
        report = folder / "r.pdf"
        report.write_bytes(b"%PDF-1.7\n")
        target = write_submission(folder, year=year, label=LABEL, systems=[entry(year), entry(year)], report=report)
        with zipfile.ZipFile(target) as archive:
            result[year] = {name: archive.read(name) for name in archive.namelist()}
    return result


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def pack() -> Callable[[dict[str, bytes]], bytes]:
    return packed


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write files as a zip or a folder and return its path."""

    def saved(files: dict[str, bytes], *, as_folder: bool = False) -> Path:
        path = tmp_path / "päck age.zip"
        if not as_folder:
            path.write_bytes(packed(files))
            return path
        for member, data in files.items():
            (path / member).parent.mkdir(parents=True, exist_ok=True)
            (path / member).write_bytes(data)
        return path

    return saved
