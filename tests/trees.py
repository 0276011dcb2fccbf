"""Trees of tiny recordings in each year's exact layout, for end-to-end tests of stage 1."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from dcase_asd.manifests.corpora import CorpusSpec, corpus_spec

RATE_HZ = 16000
N_SAMPLES = 1600


def wav_bytes(name: str, *, n_channels: int = 1, n_samples: int = N_SAMPLES, rate_hz: int = RATE_HZ) -> bytes:
    """A tiny PCM-16 recording whose content follows from its name: no two names share content."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    stream = io.BytesIO()
    soundfile.write(stream, rng.normal(0, 0.1, (n_samples, n_channels)).clip(-1, 1), rate_hz, subtype="PCM_16", format="WAV")
    return stream.getvalue()


def write_wav(path: Path, **options: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_bytes("/".join(path.parts[-5:]), **options))  # below the tree's root: not the folder of this run


def make_year(root: Path, year: int, *, machines: tuple[str, ...] = (), raw: bool = True, n_samples: int = N_SAMPLES) -> int:
    """Write a small corpus of the year below ``root``; return the number of its clips (copies not counted)."""
    spec = corpus_spec(f"dcase{year}")
    n_clips = 0
    for subset in ("dev", "eval"):
        base = root / spec.folder / f"{subset}_data" / ("raw" if raw else "")
        for machine, sections in spec.machines[subset].items():
            if machines and machine not in machines:
                continue
            names = [name for section in sections for name in clip_names(spec, subset, machine, section)]
            for name in names:
                write_wav(base / machine / name, n_channels=spec.n_channels, n_samples=n_samples)
            n_clips += len(names)
            if year >= 2022:
                _write_tables(base / machine, spec, subset, machine)
    return n_clips


def clip_names(spec: CorpusSpec, subset: str, machine: str, section: str) -> Iterator[str]:
    """Names below the machine's folder: 4 source and 2 target training clips, 4 or 8 test clips."""
    if spec.year == 2020:
        yield from _names_2020(subset, section)
        return
    for domain, n_train in (("source", 4), ("target", 2)):
        what = {"section": section, "domain": domain}
        for i in range(n_train):
            yield f"train/{_labelled(spec, subset, machine, **what, split='train', label='normal', index=i)}"
        if spec.year == 2021:
            yield from _tests_2021(subset, section, domain)
        elif subset == "dev":
            for label in ("normal", "anomaly"):
                yield from (
                    f"test/{_labelled(spec, subset, machine, **what, split='test', label=label, index=i)}" for i in range(2)
                )
    if subset == "eval" and spec.year >= 2022:
        yield from (f"test/section_{section}_{i:04d}.wav" for i in range(1, 9))
    if spec.supplemental:
        yield f"supplemental/section_{section}_machine_0001_.wav"
        yield f"supplemental/section_{section}_noise_supplemental_normal_0000.wav"


def _names_2020(subset: str, section: str) -> Iterator[str]:
    yield from (f"train/normal_id_{section}_{i:08d}.wav" for i in range(6))
    if subset == "dev":
        yield from (f"test/{label}_id_{section}_{i:08d}.wav" for label in ("normal", "anomaly") for i in range(2))
    else:
        yield from (f"test/id_{section}_{i:08d}.wav" for i in range(4))


def _tests_2021(subset: str, section: str, domain: str) -> Iterator[str]:
    if subset == "eval":
        yield from (f"{domain}_test/section_{section}_{domain}_test_{i:04d}.wav" for i in range(4))
        return
    for label in ("normal", "anomaly"):
        yield from (f"{domain}_test/section_{section}_{domain}_test_{label}_{i:04d}.wav" for i in range(2))


def _labelled(
    spec: CorpusSpec, subset: str, machine: str, *, section: str, domain: str, split: str, label: str, index: int
) -> str:
    head = f"section_{section}_{domain}_{split}_{label}_{index:04d}"
    if spec.year == 2021:
        return f"{head}_strength_{index}_ambient.wav"
    if machine in spec.no_attribute.get(subset, ()):
        return f"{head}_noAttribute.wav"
    if machine == "RoboticArm":
        return f"section_{section}_{domain}_{label}_{index:04d}_weight15_BckgF.wav"
    if machine == "CoffeeGrinder":
        return f"section_{section}_{domain}_{split}_{label}_{index + 1490:04d}_mic_imp34dt05_mic_pos_A_grind_100_bkg_A.wav"
    if machine == "ToyCar":
        return f"{head}_car_A2_spd_28V_mic_1_noise_{index}.wav"
    return f"{head}_ac_0.0{index}_.wav" if machine == "grinder" else f"{head}_vel_{index}.wav"


def _write_tables(folder: Path, spec: CorpusSpec, subset: str, machine: str) -> None:
    for section in spec.machines[subset][machine]:
        names = sorted(
            p.relative_to(folder.parent).as_posix()
            for p in folder.rglob(f"section_{section}_*_normal_*.wav")
            if p.parent.name == "train"
        )
        bare = machine in spec.no_attribute.get(subset, ())
        rows = ["file_name" if bare else "file_name,d1p,d1v"]
        rows += [name if bare else f"{name},table,{i}" for i, name in enumerate(names)]
        if machine != "RoboticArm":  # one machine without its table: the names are all there is
            (folder / f"attributes_{section}.csv").write_bytes("\r\n".join([*rows, ""]).encode())
