"""The readers of files that come from elsewhere."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.fuzz import Target
from tests.fuzz.mutations import in_bytes, in_json_of_zip, in_text, in_zip

__all__ = ["TARGETS"]


def _read_manifest(path: Path) -> object:
    from dcase_asd.manifests.check import check_manifest
    from dcase_asd.manifests.schema import Manifest

    manifest = Manifest.read(path)
    manifest.attributes()
    return check_manifest(manifest, root=path.parent, read=True)


def _manifests(folder: Path) -> list[bytes]:
    del folder
    head = "clip_id,path,kind,subset,machine,section,domain,split,attributes,n_samples,n_channels,sample_rate_hz,sha256\n"
    rows = [
        f'fan/{s}/{i},fan/{s}/{i}.wav,audio,dev,fan,00,source,{s},"{{""vel"": ""{i}""}}",160000,1,16000,{"0" * 64}\n'
        for s in ("train", "test")
        for i in range(3)
    ]
    return [(head + "".join(rows)).encode()]


def _read_labels(path: Path) -> object:
    from dcase_asd.manifests.schema import Labels

    return Labels.read(path)


def _labels(folder: Path) -> list[bytes]:
    del folder
    return [b'clip_id,is_anomaly,domain,attributes\nfan/a,0,source,"{""vel"": ""1""}"\nfan/b,1,target,{}\n']


def _read_split_table(path: Path) -> object:
    from dcase_asd import registry

    plugin = registry.load("corpora", "folder")
    config = plugin.config(layout="table", table=path.name, train_values=("train",), test_values=("test",))
    return plugin.implementation(config).scan(path.parent)


def _split_tables(folder: Path) -> list[bytes]:
    for i in range(3):
        (folder / f"{i}.wav").write_bytes(_wavs(folder)[0])
    rows = "0.wav,train,00,,\n1.wav,train,00,source,normal\n2.wav,test,00,target,anomaly\n"
    return [("file,split,section,domain,label\n" + rows).encode()]


def _read_score_folder(path: Path) -> object:
    from dcase_asd.evaluation.organisers import evaluate_folder

    return evaluate_folder(path.parent, path.parent / "eval_data_list_2022.csv", year=2022)


def _score_files(folder: Path) -> list[bytes]:
    names = [f"section_03_{i:04d}.wav" for i in range(8)]
    truths = [f"section_03_{d}_test_{k}_{i:04d}.wav" for i, (d, k) in enumerate((d, k) for d in _DOMAINS for k in _KINDS * 2)]
    rows = [f"{a},{b}\n" for a, b in zip(names, truths, strict=True)]
    (folder / "eval_data_list_2022.csv").write_text("ToyCar\n" + "".join(rows), encoding="utf-8")
    return ["".join(f"{name},{0.1 * i}\n" for i, name in enumerate(names)).encode()]


_DOMAINS, _KINDS = ("source", "target"), ("normal", "anomaly")


def _read_ground_truth(path: Path) -> object:
    from dcase_asd.errors import DataError
    from dcase_asd.evaluation.ground_truth import read_ground_truth as for_evaluation
    from dcase_asd.manifests.ground_truth import read_ground_truth as for_manifests

    with contextlib.suppress(DataError):
        for_manifests(path)
    return for_evaluation(path, year=2022)


def _ground_truths(folder: Path) -> list[bytes]:
    _score_files(folder)
    return [(folder / "eval_data_list_2022.csv").read_bytes()]


def _read_scores(path: Path) -> object:
    from dcase_asd.pipeline.stages.scores import read_scores

    return read_scores(path)


def _scores(folder: Path) -> list[bytes]:
    del folder
    return [b"clip_id,system,score\nfan/a,oe,0.25\nfan/b,oe,1.5\nfan/c,oe,nan\n"]


def _read_config(path: Path) -> object:
    from dcase_asd.config import apply_overrides, load_yaml
    from dcase_asd.pipeline.settings import resolve

    return resolve(apply_overrides(load_yaml(path), ["seeds=[1]"]))


def _configs(folder: Path) -> list[bytes]:
    del folder
    recipes = Path(__file__).resolve().parents[2] / "recipes"
    return [p.read_bytes() for p in (recipes / "synthetic/asd1/conf/oe.yaml", recipes / "folder/asd1/conf/floors.yaml")]


def _read_override(path: Path) -> object:
    from dcase_asd.config import apply_overrides

    return apply_overrides({"detectors": {"knn": {"n_neighbors": [1]}}}, [path.read_text(encoding="utf-8", errors="replace")])


def _overrides(folder: Path) -> list[bytes]:
    del folder
    return [b"detectors.knn.n_neighbors=[1, 2]", b"features.n_mels=128", b"a={b: [1, x], c: 1e-3}"]


def _read_audio(path: Path) -> object:
    from dcase_asd.features.signal import read_channel
    from dcase_asd.io.audio import read_audio, read_header, truncation
    from dcase_asd.manifests.inspection import inspect_clip

    row = {"kind": "audio", "n_samples": 2000, "n_channels": 1, "sample_rate_hz": 16000, "sha256": ""}
    inspect_clip(path, row, read=True)
    truncation(path)
    header = read_header(path)
    read_channel(path, channel="mean", n_samples=header.n_samples, sample_rate_hz=header.sample_rate_hz)
    return read_audio(path)


def _wavs(folder: Path) -> list[bytes]:
    import numpy as np
    import soundfile

    del folder
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 1))
    found = []
    for subtype, channels in (("PCM_16", 1), ("FLOAT", 2), ("PCM_24", 1), ("IMA_ADPCM", 1)):
        stream = io.BytesIO()
        soundfile.write(stream, np.repeat(wave, channels, axis=1), 16000, format="WAV", subtype=subtype)
        found.append(stream.getvalue())
    # chunks before the samples, one of odd length
    extra = b"LIST" + struct.pack("<I", 5) + b"INFOx\0" + b"bext" + struct.pack("<I", 4) + b"abcd"
    return [*found, found[0][:12] + extra + found[0][12:]]


def _compressed(folder: Path) -> list[bytes]:
    import numpy as np
    import soundfile

    del folder
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, 2000)
    found = []
    for kind, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("W64", "PCM_16"), ("AU", "PCM_16")):
        stream = io.BytesIO()
        soundfile.write(stream, wave, 16000, format=kind, subtype=subtype)
        found.append(stream.getvalue())
    return found


def _read_image(path: Path) -> object:
    from dcase_asd.io.images import read_image, read_image_header

    header = read_image_header(path)
    pixels = read_image(path)
    if pixels.shape != (header.height, header.width, header.n_channels):
        raise AssertionError(f"header {header}, pixels {pixels.shape}")
    return pixels


def _images(folder: Path) -> list[bytes]:
    import numpy as np
    from PIL import Image

    del folder
    pixels = np.random.default_rng(0).integers(0, 255, (24, 17, 3), dtype=np.uint8)
    found = []
    for kind, mode in (
        ("PNG", "RGB"),
        ("PNG", "L"),
        ("JPEG", "RGB"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
        ("PNG", "P"),
        ("PNG", "RGBA"),
    ):
        stream = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(stream, kind)
        found.append(stream.getvalue())
    return found


def _read_array(path: Path) -> object:
    from dcase_asd.io.arrays import load_array
    from dcase_asd.manifests.clip_files import read_facts

    read_facts([path])
    return load_array(path).sum() + load_array(path, mmap=False).sum()


def _arrays(folder: Path) -> list[bytes]:
    import numpy as np

    found = []
    for array in (np.ones((4, 8), np.float32), np.arange(6, dtype=np.float16), np.asfortranarray(np.ones((3, 2)))):
        np.save(folder / "x.npy", array)
        found.append((folder / "x.npy").read_bytes())
    return found


def _read_tensors(path: Path) -> object:
    from dcase_asd.io.arrays import load_tensors

    return {name: value.sum() for name, value in load_tensors(path).items()}


def _tensors(folder: Path) -> list[bytes]:
    import numpy as np

    from dcase_asd.io.arrays import save_tensors

    save_tensors(folder / "x.safetensors", {"mean": np.ones(3, np.float32), "n": np.array([4]), "map": np.ones((2, 3, 4))})
    return [(folder / "x.safetensors").read_bytes()]


def _read_weights(path: Path) -> object:
    from dcase_asd.io.state_dicts import read_state_dict

    return read_state_dict(path)


def _weights(folder: Path) -> list[bytes]:
    import torch

    torch.save({"conv1.weight": torch.ones(2, 3), "fc.bias": torch.zeros(4)}, folder / "w.pt")
    return [(folder / "w.pt").read_bytes()]


def _read_bundle(path: Path) -> object:
    from dcase_asd.serving.bundle import is_bundle
    from dcase_asd.serving.scorer import Scorer

    is_bundle(path)
    return Scorer.load(path)


def _bundles(folder: Path) -> list[bytes]:
    import numpy as np
    import soundfile

    from dcase_asd.serving.scorer import Scorer

    rng = np.random.default_rng(0)
    (folder / "normal").mkdir(exist_ok=True)
    for i in range(8):
        soundfile.write(folder / "normal" / f"{i}.wav", rng.normal(0, 0.1, 32000), 16000, subtype="PCM_16")
    Scorer(false_alarms=0.1).fit(folder / "normal").save(folder / "good.zip")
    # a second one without the digest of its record, so that what is changed in it is read and not refused for the change alone
    with zipfile.ZipFile(folder / "good.zip") as good, zipfile.ZipFile(folder / "bare.zip", "w") as bare:
        for name in good.namelist():
            data = good.read(name)
            bare.writestr(name, re.sub(rb'"sha256": "[0-9a-f]{64}",', b"", data) if name == "config.json" else data)
    Scorer.load(folder / "bare.zip")
    return [(folder / name).read_bytes() for name in ("good.zip", "bare.zip")]


def _unpack(path: Path) -> object:
    from dcase_asd.download.archives import unpack

    return unpack(path, path.parent / "corpus")


def _archives(folder: Path) -> list[bytes]:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fan/train/a.wav", _wavs(folder)[0])
        archive.writestr("fan/attributes_00.csv", "file_name,d1p\n")
    return [stream.getvalue()]


def _read_submission(path: Path) -> object:
    from dcase_asd.submission.validator import check_submission

    return [str(problem) for problem in check_submission(path, year=2023)]


def _submissions(folder: Path) -> list[bytes]:
    del folder
    stream = io.BytesIO()
    base = "task2/Doe_XYZ_task2_1"
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{base}/Doe_XYZ_task2_1.meta.yaml", "submission: {label: Doe_XYZ_task2_1}\nsystem: {}\nresults: {}\n")
        archive.writestr(f"{base}/anomaly_score_Vacuum_section_00_test.csv", "section_00_0000.wav,0.5\n")
        archive.writestr(f"{base}/decision_result_Vacuum_section_00_test.csv", "section_00_0000.wav,1\n")
        archive.writestr("task2/Doe_XYZ_task2.technical_report.pdf", "%PDF-1.7\n")
    return [stream.getvalue()]


def _read_record(path: Path) -> object:
    from dcase_asd.pipeline.records import changes, read_record

    record = read_record(path.parent)
    return None if record is None else (record.digest(), changes(record.units, {"": {"version": 1}}), changes(record.finish, {}))


def _records(folder: Path) -> list[bytes]:
    del folder
    return [b'{"stage": "scores", "version": 1, "units": {"a/0": {"version": 1, "config": {"x": [1]}, "inputs": {}}},\n'
            b' "finish": {"k": 1}, "files": {"a/0/scores.csv": "00"}, "provenance": {"seconds": 1.5}}\n']  # fmt: skip


Read, Samples = Callable[[Path], object], Callable[[Path], Sequence[bytes]]


def _target(name: str, file: str, read: Read, samples: Samples, mutate: Callable[[bytes, Random], bytes]) -> Target:
    return Target(name=name, file=file, read=read, samples=samples, mutate=mutate)


TARGETS = {
    target.name: target
    for target in (
        _target("manifest_csv", "manifest.csv", _read_manifest, _manifests, in_text),
        _target("labels_csv", "labels.csv", _read_labels, _labels, in_text),
        _target("split_table_csv", "clips.csv", _read_split_table, _split_tables, in_text),
        _target("score_csv", "scores.csv", _read_scores, _scores, in_text),
        _target("challenge_csv", "anomaly_score_ToyCar_section_03_test.csv", _read_score_folder, _score_files, in_text),
        _target("ground_truth_csv", "eval_data_list_2022.csv", _read_ground_truth, _ground_truths, in_text),
        _target("config_yaml", "conf.yaml", _read_config, _configs, in_text),
        _target("override", "override.txt", _read_override, _overrides, in_text),
        _target("wav", "a.wav", _read_audio, _wavs, in_bytes),
        _target("flac_ogg_mp3", "a.flac", _read_audio, _compressed, in_bytes),
        _target("image", "a.png", _read_image, _images, in_bytes),
        _target("npy", "a.npy", _read_array, _arrays, in_bytes),
        _target("safetensors", "a.safetensors", _read_tensors, _tensors, in_bytes),
        _target("torch_weights", "a.pt", _read_weights, _weights, in_bytes),
        _target("bundle_zip", "b.zip", _read_bundle, _bundles, in_zip),
        _target("bundle_config", "b.zip", _read_bundle, _bundles, in_json_of_zip("config.json")),
        _target("corpus_zip", "c.zip", _unpack, _archives, in_zip),
        _target("submission_zip", "s.zip", _read_submission, _submissions, in_zip),
        _target("stage_record", "stage.json", _read_record, _records, in_text),
    )
}
