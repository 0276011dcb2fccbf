"""Free memory as the system tells it."""

from dcase_asd.io import memory


def _told(monkeypatch, folder, *, available=None, limit=None, anonymous=None):
    names = {"meminfo": available, "max": limit, "stat": anonymous}
    for name, text in names.items():
        (folder / name).unlink(missing_ok=True)
        if text is not None:
            (folder / name).write_text(text, encoding="ascii")
    monkeypatch.setattr(memory, "_MEMINFO", folder / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", ((folder / "max", folder / "stat", "anon "),))
    return memory.free_bytes()


def test_the_least_of_machine_and_container(tmp_path, monkeypatch):
    machine = "MemTotal: 4000 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\n"
    assert _told(monkeypatch, tmp_path, available=machine) == 2000 * 1024
    assert _told(monkeypatch, tmp_path, available=machine, limit="max\n", anonymous="anon 5\nfile 7\n") == 2000 * 1024
    # what was read from files does not count: it can be given back
    assert _told(monkeypatch, tmp_path, available=machine, limit="1000000\n", anonymous="anon 400000\nfile 590000\n") == 600000
    assert _told(monkeypatch, tmp_path, limit="1000\n", anonymous="anon 4000\n") == 0


def test_nothing_is_known_where_nothing_is_told(tmp_path, monkeypatch):
    assert _told(monkeypatch, tmp_path) is None
    assert _told(monkeypatch, tmp_path, available="MemFree: 3 kB\n", limit="odd\n", anonymous="") is None
