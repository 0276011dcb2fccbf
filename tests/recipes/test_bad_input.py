"""A hostile user: bad recordings, bad settings, bad commands. Each ends with a clear message and the right exit code."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny

from dcase_asd.cli import main
from dcase_asd.ensemble.selection import Selection
from dcase_asd.errors import AudioError, DataError, DcaseAsdError, ManifestError, StaleInputError, TrainingError, UnknownNameError
from dcase_asd.evaluation.results import Metrics
from dcase_asd.pipeline.stages.manifests import listing_digest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a space and a non-ASCII letter, a corpus in ``data``, a recipe in ``recipe``."""
    root = tmp_path / "bad é"
    tiny.make_corpus(root / "data")
    tiny.make_recipe(root / "recipe")
    return root


def fan(root: Path, split: str = "train") -> list[Path]:
    return sorted((root / "data" / "dcase2023t2" / "dev_data" / "raw" / "fan" / split).glob("*.wav"))


def try_run(root: Path, *overrides: str, **plan: object) -> None:
    tiny.run(root / "recipe", root / "data", *overrides, **plan)  # type: ignore[arg-type]


def refused(root: Path, error: type[DcaseAsdError], match: str, *overrides: str, stage: str, stop: str = "9") -> None:
    """Run and expect this error in this stage; nothing of the stage may pass for done."""
    with pytest.raises(error, match=match):
        try_run(root, *overrides, stop_stage=stop)
    finished = {p.parent.name for p in (root / "recipe").rglob("stage.json") if ".partial" not in str(p)}
    assert not [name for name in finished if stage in name]


def main_code(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as ended:
        return int(str(ended.code or 0))
    return 0


# --- recordings -------------------------------------------------------------------------------------------------------


def only(root: Path, *names: str) -> None:
    """Leave nothing of the corpus but these clips of the fan."""
    for path in list((root / "data").rglob("*.wav")):
        path.unlink()
    for name in names:
        tiny.write_clip(root / "data" / "dcase2023t2" / "dev_data" / "raw" / "fan" / name)


def test_empty_folder(place: Path) -> None:
    shutil.rmtree(place / "data")
    (place / "data").mkdir()
    refused(place, ManifestError, "found an empty folder", stage="dcase")


def test_folders_without_clips(place: Path) -> None:
    only(place)
    refused(place, ManifestError, "no clip in dev, eval", stage="dcase")


def test_one_clip_has_nothing_to_score(place: Path) -> None:
    only(place, "train/section_00_source_train_normal_0000_vel_1.wav")
    refused(place, ManifestError, "no machine has test clips.*--stop_stage 2", stage="3_extractor")


def test_one_training_clip(place: Path) -> None:
    only(place, "train/section_00_source_train_normal_0000_vel_1.wav", "test/section_00_source_test_normal_0000_vel_1.wav")
    refused(place, TrainingError, "fan: 1 clips left to train on, 2 are needed", stage="3_extractor")


def test_one_machine_says_what_to_add(place: Path) -> None:
    shutil.rmtree(place / "data" / "dcase2023t2" / "eval_data")
    shutil.rmtree(place / "data" / "dcase2023t2" / "dev_data" / "raw" / "valve")
    refused(place, TrainingError, "other machine.*add the training clips of at least one other machine", stage="3_extractor")


def test_machine_without_training_clips(place: Path) -> None:
    for path in fan(place):
        path.unlink()
    refused(place, ManifestError, "machine 'fan' has no training clips", stage="log_mel")


@pytest.mark.parametrize("pattern", ["*_target_train_*", "*_vel_*"])
def test_no_target_clips_and_no_attributes_are_fine(place: Path, pattern: str) -> None:
    for path in list((place / "data").rglob(pattern)):
        if "target" in pattern:
            path.unlink()
        else:
            path.rename(path.with_name(path.name.split("_vel_")[0] + "_noAttribute.wav"))
    try_run(place, "detectors.mean_knn.fit_sets=[source]", stop_stage="5")
    assert list((place / "recipe").rglob("5_detectors/stage.json"))


def test_one_machine_without_target_clips_lacks_grid_points_and_the_others_keep_them(place: Path) -> None:
    for path in (path for path in fan(place) if "_target_" in path.name):
        path.unlink()
    grids = ["detectors.oe_knn.n_neighbors=[1, 2]", "detectors.oe_knn.fit_sets=[both, pseudo_target]"]
    grids += ["detectors.mean_knn.fit_sets=[both, pseudo_target]", "evaluate.systems=[both, both_unselected, oe_knn, mean_knn]"]
    grids += ["ensembles={both: {members: ['*_knn'], n_best: 2}}"]
    try_run(place, *grids)
    experiment = next((place / "recipe").rglob("8_evaluate")).parent
    dev = Metrics.read(experiment / "8_evaluate" / "0" / "dev" / "metrics.json").systems
    kept = {"oe_knn:fit_set=both,k=1", "oe_knn:fit_set=both,k=2", "mean_knn:fit_set=both,k=1"}
    assert {name for name in dev if name.split("_")[0] in {"oe", "mean"}} == kept
    assert all(set(system.machines) == {"fan", "valve"} for system in dev.values())
    chosen = Selection.read(experiment / "7_ensemble" / "0" / "selection_both.json")
    assert len(chosen.incomplete) == 3
    assert all("pseudo_target" in name for name in chosen.incomplete)
    assert not set(chosen.default) & set(chosen.incomplete)
    assert (experiment / "9_submit" / "submission.json").is_file()
    # what the machine lacks cannot be compared, and asking for it says so
    with pytest.raises(DataError, match=r"on some machines only: .*pseudo_target"):
        try_run(place, *grids, "evaluate.comparators=['mean_knn:fit_set=pseudo_target,k=1']", stop_stage="8")


def test_one_target_clip_cannot_calibrate_what_is_fitted_with_it(place: Path) -> None:
    for machine in (path for path in (place / "data").rglob("train") if path.is_dir()):
        for path in sorted(machine.glob("*_target_*"))[1:]:
            path.unlink()
    # cross-fitting: the fold that holds the one target clip out has no pseudo-target data
    try_run(place, "detectors.mean_knn.fit_sets=[both, pseudo_target]", stop_stage="8")
    metrics = Metrics.read(next((place / "recipe").rglob("8_evaluate/0/dev/metrics.json")))
    assert {name for name in metrics.systems if name.startswith("mean_knn")} == {"mean_knn:fit_set=both,k=1"}
    assert "pseudo_target,k=1 has no scores of held-out clips" in "".join(
        p.read_text() for p in place.rglob("log/6_scores/*.log")
    )


def test_one_normal_test_clip_of_the_target_domain_is_evaluated_without_an_interval(place: Path) -> None:
    next(path for path in fan(place, "test") if "_target_test_normal_" in path.name).unlink()
    try_run(place, stop_stage="8")
    metrics = next((place / "recipe").rglob("8_evaluate/0/dev/metrics.json"))
    assert Metrics.read(metrics).systems["both"].interval is None


def test_mixed_sample_rates(place: Path) -> None:
    tiny.write_clip(fan(place)[0], rate_hz=8000)
    refused(place, AudioError, "recorded at 8000 Hz, the feature works at 16000 Hz; set resample: true", stage="log_mel")
    try_run(place, "features.resample=true", stop_stage="2")


def test_short_clip_is_repeated_to_a_segment_and_shorter_than_a_window_is_refused(place: Path) -> None:
    tiny.write_clip(fan(place)[0], seconds=0.6)
    try_run(place, stop_stage="4")
    tiny.write_clip(fan(place)[0], seconds=0.01)
    with pytest.raises(AudioError, match=r"at least 2048 samples .*found 160"):
        try_run(place, stop_stage="4")


def write_nan(path: Path) -> None:
    samples = tiny.waveform("fan/nan").astype(np.float32)
    samples[100] = np.nan
    soundfile.write(path, samples, tiny.RATE_HZ, subtype="FLOAT")


BROKEN: dict[str, tuple[Callable[[Path], object], type[DcaseAsdError], str, str]] = {
    "truncated_wav": (lambda p: p.write_bytes(p.read_bytes()[:20000]), ManifestError, "truncated: 28044 bytes fewer", "dcase"),
    "truncated_header": (lambda p: p.write_bytes(p.read_bytes()[:20]), ManifestError, "not a readable recording", "dcase"),
    "no_bytes": (lambda p: p.write_bytes(b""), ManifestError, "1 of 47 clip files cannot be read", "dcase"),
    "text": (lambda p: p.write_text("not a recording\n" * 99), ManifestError, "Fetch them again or remove them", "dcase"),
    "nan": (write_nan, AudioError, "sample 100 is NaN or infinite; repair or remove", "log_mel"),
    "no_samples": (lambda p: tiny.write_clip(p, seconds=0), AudioError, "found 0; remove the recording", "log_mel"),
    "odd_name": (lambda p: p.rename(p.with_name("my file.wav")), ManifestError, "is not the name of a DCASE clip", "dcase"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_recording(place: Path, kind: str) -> None:
    spoil, error, match, stage = BROKEN[kind]
    spoil(fan(place)[0])
    refused(place, error, match, stage=stage, stop="2")
    message = next((place / "recipe").rglob("log/*/*.log")).parents[1]
    assert any("section_00_source_train_normal_0000" in p.read_text() or kind == "odd_name" for p in message.rglob("*.log"))


def test_stereo_is_averaged_and_a_channel_that_is_not_there_is_refused(place: Path) -> None:
    for path in fan(place):
        tiny.write_clip(path, n_channels=2)
    try_run(place, stop_stage="2")
    refused(place, AudioError, "channel '1' asked for, the recording has 1", "features.channel='1'", stage="3_", stop="2")


def test_links_that_lead_nowhere_or_in_circles(place: Path) -> None:
    folder = fan(place)[0].parent
    (folder / "loop").symlink_to(folder)
    try_run(place, stop_stage="1")
    before = listing_digest(place / "data")
    (folder / "section_00_source_train_normal_9999_vel_1.wav").symlink_to("/nowhere/x.wav")
    assert listing_digest(place / "data") != before
    with pytest.raises(ManifestError, match="9999"):
        try_run(place, stop_stage="1")


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("extractors.oe.widht=1", "unknown key .did you mean 'width'"),
        ("detector.x=1", "unknown key 'detector' .did you mean 'detectors'"),
        ("extractors.oe.width=wide", "extractors.oe.width: input should be a valid number.*got 'wide'"),
        ("detectors.oe_knn.name=knm", "unknown detector 'knm' .did you mean 'knn'"),
        ("detectors.oe_knn.extractor=oee", "unknown extractor 'oee' .did you mean 'oe'"),
        ("detectors={1: {name: knn}}", "detectors: 1: use letters"),
        ("scores.by_machine=3", "scores.by_machine: input should be a valid dictionary; got 3"),
        ("scores.by_machine={fan: 3}", "scores.by_machine.fan: input should be a valid string; got 3"),
        ("scores.by_machine={fan: maximum}", "unknown pooling method 'maximum' .did you mean 'max'"),
        ("scores.aggregation=maen", "unknown pooling method 'maen' .did you mean 'mean'"),
        ("segments.overlap=1.0", "segments.overlap: expected a share from 0 to below 1, got 1.0"),
        ("segments.length_s=-1", "segments.length_s: expected seconds"),
        ("split.source_fraction=7", "split.source_fraction: expected a share"),
        ("evaluate.rule=dcase1999", "unknown scoring rule 'dcase1999'"),
        ("evaluate.n_bootstrap=-3", "evaluate.n_bootstrap: expected at least 1"),
        ("evaluate.false_alarm_rate=3", "evaluate.false_alarm_rate: expected a share"),
        ("evaluate.systems=[bth]", "evaluate.systems: 'bth' matches no system .did you mean 'both'"),
        ("submit.systems=[nothing]", "submit.systems: 'nothing' matches no system"),
        ("submit.year=1999", "unknown challenge year '1999'"),
        ("submit.label=x", "submit.label: expected <Surname>_<INST>_task2"),
        ("detectors.mean_knn.folds=0", "detectors.mean_knn.folds: expected at least 2 folds"),
        ("extractors.oe.epochs=0", "epochs >= 1"),
        ("ensembles.both.members=oe_knn", "ensembles.both.members: input should be a valid tuple"),
        ("seeds=3", "seeds: expected a list of whole numbers"),
        ("extractors.oe.learning_rate=.nan", "extractors.oe.*learning_rate: expected a finite number, got nan"),
        ("segments.length_s=.inf", "segments.length_s: expected a finite number, got inf"),
        ("features.channel=²", "channel: expected 'mean' or a channel number"),
        ("nonsense", "neither an option nor an override"),
    ],
)
def test_wrong_setting_is_refused_before_any_stage(
    place: Path, capsys: pytest.CaptureFixture[str], override: str, match: str
) -> None:
    code = main_code("run", "--recipe", str(place / "recipe"), "--conf", "conf.yaml", override)
    err = capsys.readouterr().err
    assert code == 2, err
    assert err.startswith("error: ")
    assert re.search(match, err), err
    assert sorted(p.name for p in (place / "recipe").iterdir()) == ["conf.yaml"], "nothing was written"


@pytest.mark.parametrize(
    ("arguments", "code", "match"),
    [
        (["--stage", "three"], 2, "unknown stage .*'three'"),
        (["--stage"], 2, "requires an argument"),
        (["--stage", "5", "--stop_stage", "3"], 2, "comes after"),
        (["--frobnicate"], 2, "No such option"),
        (["--nj", "three"], 2, "not a valid integer"),
        (["--nj", "-1"], 2, "at least 1 is needed"),
        (["--executor", "lokal"], 2, "unknown executor 'lokal' .did you mean 'local'"),
        (["--device", "warp"], 2, "--device warp: torch cannot use it here"),
        (["--tag", "../x"], 2, "a plain folder name is needed"),
        (["--seeds", "0,x"], 2, "whole numbers are needed"),
        (["--seeds", "²"], 2, "whole numbers are needed"),
        (["--stage", "²"], 2, "unknown stage .*'²'"),
        (["--conf", "other.yaml"], 2, "other.yaml: cannot read the configuration"),
        (["--data_root", "nowhere"], 1, "nowhere does not exist; give --data_root DIR"),
        (["--data_root", "../data", "--stages", "5,6"], 1, "stage 0 raw is missing: no output yet. Run with --stage 0 first"),
        (["--data_root", "../data", "--skip_stages", "5"], 1, "stage 5 detectors is missing"),
    ],
)
def test_wrong_command(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, match: str) -> None:
    found = main_code("run", "--recipe", str(place / "recipe"), "--conf", "conf.yaml", *arguments)
    err = capsys.readouterr().err
    assert found == code, err
    assert re.search(match, err), err
    assert "Traceback" not in err


def test_tabs_in_yaml_and_a_key_that_stands_twice(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = place / "recipe" / "conf.yaml"
    for text, match in (("raw:\n\tsource: none\n", "not valid YAML"), ("seeds: [0]\nseeds: [1]\n", "'seeds' stands twice")):
        conf.write_text(text)
        assert main_code("run", "--recipe", str(conf.parent), "--conf", "conf.yaml") == 2
        assert match in capsys.readouterr().err


def test_list_and_dry_run_of_a_fresh_recipe_write_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["run", "--recipe", str(place / "recipe"), "--conf", "conf.yaml"]
    assert main_code(*common, "--list", "--data_root", "nowhere") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == list("0123456789")
    assert "blocked" in lines[1]
    assert main_code(*common, "--dry_run", "--no-resume", "--data_root", "../data") == 0
    assert "[9/9 submit] would run" in capsys.readouterr().out
    assert sorted(p.name for p in (place / "recipe").iterdir()) == ["conf.yaml"]


def test_unknown_machine_leaves_the_record_of_the_experiment_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["run", "--recipe", str(place / "recipe"), "--conf", "conf.yaml", "--nj", "1", "--data_root", "../data"]
    assert main_code(*common, "--stop_stage", "2") == 0
    before = (place / "recipe/exp/conf/config.yaml").read_bytes()
    assert main_code(*common, "--machines", "vlave") == 2
    assert "did you mean 'valve'" in capsys.readouterr().err
    assert (place / "recipe/exp/conf/config.yaml").read_bytes() == before


# --- the command line as a process ------------------------------------------------------------------------------------


def test_exit_codes_of_the_process(place: Path) -> None:
    usage = tiny.command(place / "recipe", place / "data", "--stage", "three")
    assert (usage.returncode, usage.stdout) == (2, "")
    (place / "file").write_text("in the way")
    failed = tiny.command(place / "recipe", place / "data", "--expdir", str(place / "file" / "exp"))
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: Not a directory")


def test_names_that_the_terminal_cannot_show_end_no_run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny.make_recipe(tmp_path / "recipe ż")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ended = tiny.command(recipe, place / "data", "--stop_stage", "0")
    assert ended.returncode == 0, ended.stderr
    assert "recipe \\u017c" in ended.stdout


def test_run_script_of_an_experiment_runs_from_anywhere(place: Path, tmp_path: Path) -> None:
    arguments = ["run", "--recipe", str(place / "recipe"), "--conf", "conf.yaml", "--nj=1", "--data_root", "../data", "--force"]
    assert main_code(*arguments, "--stop_stage", "1") == 0
    script = place / "recipe/exp/conf/run.sh"
    assert "--force" not in script.read_text()
    assert "--stop_stage" not in script.read_text()
    environment = {k: v for k, v in tiny.environment().items() if k != "PYTHONPATH"}
    done = subprocess.run(
        ["bash", str(script), "--stop_stage", "1"], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("up to date") == 2


def test_errors_survive_the_way_from_a_worker() -> None:
    for error in (UnknownNameError("detector", "knm", ["knn"]), StaleInputError("x"), DataError("y")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
