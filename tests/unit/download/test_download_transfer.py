import hashlib
import socket

import numpy as np
import pytest
from zenodo_server import Zenodo, serve

from dcase_asd.download.transfer import Retry, StoppedError, fetch_bytes, fetch_file
from dcase_asd.errors import DataError

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SIZE = len(CONTENT)
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = {"attempts": 3, "pause_s": 0.001, "timeout_s": 5.0}


@pytest.fixture
def zenodo():
    with serve(Zenodo({7: {"a.zip": CONTENT}})) as server:
        yield server


def fetch(zenodo, path, *, size=SIZE, md5=MD5, **options):
    seen = []
    fetch_file(
        f"{zenodo.url}/api/records/7/files/a.zip/content",
        path,
        size=size,
        md5=md5,
        retry=Retry(**{**QUICK, **options}),
        progress=seen.append,
    )
    return seen


def test_a_file_arrives_whole(zenodo, root):
    seen = fetch(zenodo, root / "x" / "a.zip")
    assert (root / "x" / "a.zip").read_bytes() == CONTENT
    assert seen[0] == 0
    assert seen[-1] == len(CONTENT)
    assert seen == sorted(seen)
    assert not (root / "x" / "a.zip.part").exists()


def test_broken_connections_are_continued_where_they_broke(zenodo, root):
    zenodo.faults["a.zip"] = {"drop": 4}  # more than `attempts`: each brought something
    seen = fetch(zenodo, root / "a.zip")
    assert (root / "a.zip").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert zenodo.ranges("a.zip")[:3] == ["", f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert seen == sorted(seen)


def test_an_earlier_call_is_continued(zenodo, root):
    (root / "a.zip.part").write_bytes(CONTENT[:1_000_000])
    fetch(zenodo, root / "a.zip")
    assert (root / "a.zip").read_bytes() == CONTENT
    assert zenodo.ranges("a.zip") == ["bytes=1000000-"]


def test_a_server_that_ignores_ranges(zenodo, root):
    zenodo.faults["a.zip"] = {"drop": 1, "no_range": 1}
    fetch(zenodo, root / "a.zip")
    assert (root / "a.zip").read_bytes() == CONTENT


def test_a_server_that_answers_another_range(zenodo, root):
    (root / "a.zip.part").write_bytes(CONTENT[:10])
    zenodo.faults["a.zip"] = {"wrong_range": 1}
    fetch(zenodo, root / "a.zip")
    assert (root / "a.zip").read_bytes() == CONTENT
    assert zenodo.ranges("a.zip") == ["bytes=10-", ""]


@pytest.mark.parametrize("n_bytes", [len(CONTENT), len(CONTENT) + 1])
def test_a_part_that_is_whole_or_too_long_and_wrong(zenodo, root, n_bytes):
    (root / "a.zip.part").write_bytes(b"x" * n_bytes)
    fetch(zenodo, root / "a.zip")
    assert (root / "a.zip").read_bytes() == CONTENT


def test_a_whole_part_is_only_verified(zenodo, root):
    (root / "a.zip.part").write_bytes(CONTENT)
    fetch(zenodo, root / "a.zip")
    assert zenodo.requests == []
    fetch(zenodo, root / "a.zip")
    assert zenodo.requests == []


def test_a_file_with_another_content_is_fetched_again(zenodo, root):
    (root / "a.zip").write_bytes(b"x" * len(CONTENT))
    fetch(zenodo, root / "a.zip")
    assert (root / "a.zip").read_bytes() == CONTENT


def test_one_damaged_copy_is_deleted_and_fetched_again(zenodo, root):
    zenodo.faults["a.zip"] = {"corrupt": 1}
    fetch(zenodo, root / "a.zip")
    assert (root / "a.zip").read_bytes() == CONTENT
    assert zenodo.count("a.zip") == 2


def test_damage_twice_is_an_error_and_leaves_nothing(zenodo, root):
    zenodo.faults["a.zip"] = {"corrupt": 2}
    with pytest.raises(DataError, match=rf"MD5 is [0-9a-f]{{32}}, the record says {MD5}, after 2 downloads"):
        fetch(zenodo, root / "a.zip")
    assert list(root.iterdir()) == []


def test_a_part_longer_than_the_server_has_starts_over(zenodo, root):
    (root / "a.zip.part").write_bytes(b"x" * len(CONTENT))
    with pytest.raises(DataError, match="no success in 3 attempts"):
        fetch(zenodo, root / "a.zip", size=len(CONTENT) + 5)
    assert zenodo.ranges("a.zip")[:2] == [f"bytes={len(CONTENT)}-", ""]


def test_a_busy_server_is_asked_again(zenodo, root):
    zenodo.faults["a.zip"] = {"busy": 2}
    fetch(zenodo, root / "a.zip")
    assert zenodo.count("a.zip") == 3


def test_patience_ends(zenodo, root):
    zenodo.faults["a.zip"] = {"busy": 99}
    with pytest.raises(DataError, match=r"no success in 3 attempts \(HTTP 503.*DCASE_ASD_ZENODO_URL"):
        fetch(zenodo, root / "a.zip")
    assert zenodo.count("a.zip") == 3


def test_a_refusal_is_not_repeated(zenodo, root):
    zenodo.faults["a.zip"] = {"status": 403}
    with pytest.raises(DataError, match="HTTP 403"):
        fetch(zenodo, root / "a.zip")
    assert zenodo.count("a.zip") == 1


def test_offline_names_the_address_and_the_remedy():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api/records/7"
    with pytest.raises(DataError, match=rf"{url}: no success in 2 attempts .*refused.*Check the network or proxy"):
        fetch_bytes(url, retry=Retry(attempts=2, pause_s=0.001, timeout_s=1.0))


def test_a_silent_server_times_out():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(DataError, match="timed out"):
            fetch_bytes(f"http://127.0.0.1:{server.getsockname()[1]}/", retry=Retry(attempts=1, timeout_s=0.2))


def test_being_told_to_stop_keeps_what_arrived(zenodo, root):
    retry = Retry(**QUICK)
    (root / "a.zip.part").write_bytes(CONTENT[:1000])

    def stop_soon(n_bytes: int) -> None:
        if n_bytes > 1000:
            retry.stop.set()

    with pytest.raises(StoppedError):
        fetch_file(
            f"{zenodo.url}/api/records/7/files/a.zip/content",
            root / "a.zip",
            size=len(CONTENT),
            md5=MD5,
            retry=retry,
            progress=stop_soon,
        )
    kept = (root / "a.zip.part").read_bytes()
    assert 1000 < len(kept) < len(CONTENT)
    assert CONTENT.startswith(kept)


def test_a_folder_that_cannot_be_written_is_named(zenodo, root):
    (root / "a.zip.part").mkdir()
    with pytest.raises(DataError, match="cannot be written"):
        fetch(zenodo, root / "a.zip")
