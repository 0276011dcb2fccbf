import json
import socket

import pytest
from trees import clip_names, wav_bytes
from zenodo_server import Zenodo, make_zip, serve

from dcase_asd import config, registry
from dcase_asd.download.corpus import download
from dcase_asd.download.transfer import Retry
from dcase_asd.download.zenodo import BASE_URL, base_url_or_default, read_record
from dcase_asd.errors import DataError, UnknownNameError
from dcase_asd.manifests.corpora import corpus_spec

QUICK = Retry(attempts=2, pause_s=0.001, timeout_s=5.0)


def in_part(name: str, part: str) -> bool:
    return part == "all" or ("test/" in name) == (part == "test")


def publish(zenodo: Zenodo, year: int, machines: tuple[str, ...]) -> None:
    """Put tiny archives of a year into the server's records."""
    spec = corpus_spec(f"dcase{year}")
    for archive in spec.archives:
        for machine, sections in spec.machines[archive.subset].items():
            if machine not in machines:
                continue
            names = [name for section in sections for name in clip_names(spec, archive.subset, machine, section)]
            files = {
                f"{machine}/{n}": wav_bytes(machine + n, n_channels=spec.n_channels) for n in names if in_part(n, archive.part)
            }
            zenodo.records.setdefault(archive.record, {})[archive.zip_name(machine)] = make_zip(files)


@pytest.fixture
def zenodo():
    with serve(Zenodo()) as server:
        yield server


@pytest.mark.parametrize("year", range(2020, 2027))
def test_a_year_is_fetched_unpacked_and_scanned(zenodo, root, year):
    spec = corpus_spec(f"dcase{year}")
    dev, evaluation = spec.machine_names("dev")[0], spec.machine_names("eval")[-1]
    publish(zenodo, year, (dev, evaluation))
    seen = []
    made = download(
        year,
        dest=root,
        machines=[dev, evaluation],
        base_url=zenodo.url,
        progress=lambda *a: seen.append(a),
        retry=QUICK,
        nj=3,
    )
    assert made.complete == ()
    assert seen[-1][0] == seen[-1][1] > 0
    plugin = registry.load("corpora", "dcase")
    manifest, _ = plugin.implementation(config.build(plugin.config, {"year": year})).scan(root)
    assert set(manifest.machines) == {dev, evaluation}
    assert set(manifest.table["subset"]) == {"dev", "eval"}
    assert not list(root.rglob("*.zip"))
    # complete: not even the record is asked for
    zenodo.requests.clear()
    again = download(year, dest=root, machines=[dev, evaluation], base_url=zenodo.url, retry=QUICK)
    assert (again.fetched, again.complete) == ((), made.fetched)
    assert zenodo.requests == []


def test_the_fixed_archive_of_2024_is_the_one_fetched(zenodo, root):
    publish(zenodo, 2024, ("RoboticArm",))
    made = download(2024, dest=root, machines=["RoboticArm"], subsets=["eval"], base_url=zenodo.url, retry=QUICK)
    assert made.fetched == ("eval_data_RoboticArm_test.zip", "eval_data_RoboticArm_train_r2.zip")


def test_what_was_removed_is_fetched_again_and_the_rest_is_not(zenodo, root):
    publish(zenodo, 2023, ("fan", "valve"))
    download(2023, dest=root, machines=["fan", "valve"], base_url=zenodo.url, retry=QUICK)
    victim = next((root / "dcase2023t2").rglob("raw/fan/train/*.wav"))
    content = victim.read_bytes()
    victim.unlink()
    made = download(2023, dest=root, machines=["fan", "valve"], base_url=zenodo.url, retry=QUICK)
    assert (made.fetched, made.complete) == (("dev_fan.zip",), ("dev_valve.zip",))
    assert victim.read_bytes() == content


def test_kept_archives_spare_the_second_download(zenodo, root):
    publish(zenodo, 2023, ("fan",))
    options = {"dest": root, "machines": ["fan"], "base_url": zenodo.url, "retry": QUICK, "keep_archives": True}
    download(2023, **options)
    assert len(list(root.rglob("*.zip"))) == 1
    next((root / "dcase2023t2").rglob("raw/fan/train/*.wav")).unlink()
    zenodo.requests.clear()
    download(2023, **options)
    assert zenodo.count("dev_fan.zip") == 0


def test_a_server_with_every_fault_at_once(zenodo, root):
    publish(zenodo, 2023, ("fan", "valve", "Vacuum"))
    zenodo.faults = {
        "dev_fan.zip": {"drop": 3},
        "dev_valve.zip": {"corrupt": 1, "busy": 1},
        "eval_data_Vacuum_test.zip": {"drop": 1, "no_range": 1},
    }
    made = download(2023, dest=root, machines=["fan", "valve", "Vacuum"], base_url=zenodo.url, retry=QUICK)
    assert len(made.fetched) == 4


def test_one_failure_ends_the_call_and_the_next_one_goes_on(zenodo, root):
    publish(zenodo, 2023, ("fan", "valve"))
    zenodo.faults = {"dev_valve.zip": {"corrupt": 2}}
    with pytest.raises(DataError, match=r"dev_valve.zip.*MD5"):
        download(2023, dest=root, machines=["fan", "valve"], base_url=zenodo.url, retry=QUICK, nj=1)
    made = download(2023, dest=root, machines=["fan", "valve"], base_url=zenodo.url, retry=QUICK)
    assert "dev_valve.zip" in made.fetched
    assert not list(root.rglob("*.part"))


def test_an_archive_that_leads_outside_writes_nothing(zenodo, root):
    zenodo.records[7882613] = {"dev_fan.zip": make_zip({"fan/train/a.wav": b"1", "../../../evil": b"2"})}
    with pytest.raises(DataError, match="leads outside"):
        download(2023, dest=root, machines=["fan"], base_url=zenodo.url, retry=QUICK)
    assert not list(root.rglob("evil"))
    assert not list(root.rglob("*.wav"))


def test_an_empty_archive_is_not_complete(zenodo, root):
    zenodo.records[7882613] = {"dev_fan.zip": make_zip({})}
    for _ in range(2):
        with pytest.raises(DataError, match="holds no file"):
            download(2023, dest=root, machines=["fan"], base_url=zenodo.url, retry=QUICK)


def test_a_reissued_record_is_said(zenodo, root):
    zenodo.records[7882613] = {"dev_fan_r2.zip": b"x"}
    with pytest.raises(
        DataError, match=r"1 archives are not in their record: dev_fan.zip \(record 7882613\); there are: dev_fan_r2.zip"
    ):
        download(2023, dest=root, machines=["fan"], base_url=zenodo.url, retry=QUICK)


def test_a_record_that_does_not_exist(zenodo, root):
    with pytest.raises(DataError, match=r"records/7882613: HTTP 404.*check the record number"):
        download(2023, dest=root, machines=["fan"], base_url=zenodo.url, retry=QUICK)


def test_too_small_a_disk_is_said_before_the_first_byte(zenodo, root, monkeypatch):
    import shutil

    publish(zenodo, 2023, ("fan",))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 95, 5))
    with pytest.raises(DataError, match="bytes are needed, 5 are free"):
        download(2023, dest=root, machines=["fan"], base_url=zenodo.url, retry=QUICK)
    assert zenodo.count("dev_fan.zip") == 0


def test_unknown_names_are_refused_before_the_network(root):
    with pytest.raises(UnknownNameError, match="did you mean 'Vacuum'"):
        download(2023, dest=root, machines=["Vacum"])
    with pytest.raises(UnknownNameError, match="dcase2031"):
        download(2031, dest=root)
    with pytest.raises(UnknownNameError, match="subset"):
        download(2023, dest=root, subsets=["train"])


def test_offline(root):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DataError, match=rf"{url}/api/records/7882613: no success in 2 attempts.*Check the network"):
        download(2023, dest=root, machines=["fan"], base_url=url, retry=QUICK)


def test_the_base_address_is_option_then_variable_then_zenodo(monkeypatch):
    assert base_url_or_default(None) == BASE_URL
    monkeypatch.setenv("DCASE_ASD_ZENODO_URL", "http://127.0.0.1:9/")
    assert base_url_or_default(None) == "http://127.0.0.1:9"
    assert base_url_or_default("https://127.0.0.1") == "https://127.0.0.1"
    with pytest.raises(DataError, match="not http"):
        base_url_or_default("file:///etc")


GOOD = {"key": "a.zip", "size": 1, "checksum": "md5:" + "0" * 32, "links": {"self": "http://127.0.0.1/a"}}


@pytest.mark.parametrize(
    "content",
    [
        b"<html>log in</html>",
        b"[]",
        b"{}",
        json.dumps({"files": [{**GOOD, "key": "../a.zip"}]}).encode(),
        json.dumps({"files": [{**GOOD, "key": ".a"}]}).encode(),
        json.dumps({"files": [{**GOOD, "checksum": "sha256:00"}]}).encode(),
        json.dumps({"files": [{**GOOD, "checksum": "md5:xyz"}]}).encode(),
        json.dumps({"files": [{**GOOD, "links": {"self": "file:///etc/passwd"}}]}).encode(),
        json.dumps({"files": [{**GOOD, "size": "many"}]}).encode(),
    ],
)
def test_an_answer_that_is_no_record_is_refused(monkeypatch, content):
    monkeypatch.setattr("dcase_asd.download.zenodo.fetch_bytes", lambda *_, **__: content)
    with pytest.raises(DataError, match="expected a Zenodo record"):
        read_record(1, base_url="http://127.0.0.1", retry=QUICK)


def test_an_encrypted_server_does_not_hand_over_to_a_plain_one(monkeypatch):
    monkeypatch.setattr("dcase_asd.download.zenodo.fetch_bytes", lambda *_, **__: json.dumps({"files": [GOOD]}).encode())
    assert read_record(1, base_url="http://127.0.0.1", retry=QUICK)["a.zip"].size == 1
    with pytest.raises(DataError, match="expected a Zenodo record"):
        read_record(1, base_url="https://127.0.0.1", retry=QUICK)
