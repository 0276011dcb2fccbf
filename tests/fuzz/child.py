"""One target in a process of its own: ``python -m tests.fuzz.child TARGET CASES SECONDS SEED``; one line of JSON a finding."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import CASE_MB, CASE_S, Target
from tests.fuzz.targets import TARGETS

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Audit events that no reader of a file has a reason for.
_FORBIDDEN = {
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect", "socket.bind"),
    *("pickle.find_class", "os.chmod", "os.chown", "os.putenv"),
}
#: Events that make, move or remove: where among the arguments the paths are, and the folders these are relative to.
_CHANGES = {
    **dict.fromkeys(("os.remove", "os.rmdir"), ((0, 1),)),
    "os.mkdir": ((0, 2),),
    **dict.fromkeys(("os.rename", "os.link"), ((0, 2), (1, 3))),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
}


class TooLong(BaseException):
    """A case took more than its time."""


class Watch:
    """What a reader does to the world while it is armed."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in _FORBIDDEN:
            # torch.load(weights_only=True) has an unpickler of its own and never raises pickle.find_class
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            self._judge(event, arguments[0])
        elif event in _CHANGES:
            for place, base in _CHANGES[event]:
                self._judge(event, arguments[place], -1 if base is None else arguments[base])

    def _judge(self, event: str, place: Any, base: int = -1) -> None:
        folder, self.folder = self.folder, None  # what happens here is not heard
        try:
            if isinstance(place, (str, bytes, os.PathLike)):
                top = Path(f"/proc/self/fd/{base}").readlink() if base >= 0 else ""
                path = Path(os.path.realpath(os.path.join(top, os.fsdecode(place))))  # noqa: PTH118 - as the system does it
                if path != Path("/dev/null") and folder not in (path, *path.parents):
                    self.seen.append(f"{event} {path}")
        except ValueError:
            self.seen.append(f"{event} {place!r}")
        finally:
            self.folder = folder


def main(name: str, n_cases: int, seconds: float, seed: int) -> None:
    """Run cases until their number or the time is reached; the last line is the summary."""
    target = TARGETS[name]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="fuzz é ") as top:
        root = Path(os.path.realpath(top))
        samples = _prepare(target, root)
        counts = {"cases": 0, "read": 0, "refused": 0, "findings": 0}
        watch, deadline = Watch(), time.monotonic() + seconds
        _bound_memory()
        slowest = 0.0
        while counts["cases"] < n_cases and time.monotonic() < deadline:
            number = counts["cases"]
            rng = Random(f"{seed}/{name}/{number}")
            content = target.mutate(rng.choice(samples), rng)
            started = time.monotonic()
            outcome, what = _case(target, root, content, watch)
            slowest = max(slowest, time.monotonic() - started)
            counts["cases"] += 1
            counts[outcome] += 1
            if outcome == "findings":
                print(json.dumps({"target": name, "seed": seed, "case": number, "what": what}), flush=True)
        print(json.dumps({"target": name, **counts, "slowest_s": round(slowest, 3)}), flush=True)


def _prepare(target: Target, root: Path) -> list[bytes]:
    """Make the good files and read each once: what a reader imports and caches is not the cases' doing."""
    (root / "keep").mkdir()
    samples = list(target.samples(root / "keep"))
    tempfile.tempdir = str(root / "case")
    for sample in samples:
        _write(target, root, sample)
        target.read(root / "case" / target.file)
    return samples


def _write(target: Target, root: Path, content: bytes) -> None:
    shutil.rmtree(root / "case", ignore_errors=True)
    shutil.copytree(root / "keep", root / "case")
    (root / "case" / target.file).write_bytes(content)


def _bound_memory() -> None:
    size_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = size_pages * resource.getpagesize() + CASE_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _case(target: Target, root: Path, content: bytes, watch: Watch) -> tuple[str, str]:
    from dcase_asd.errors import DcaseAsdError

    _write(target, root, content)
    outside = {p.name for p in root.iterdir()}
    watch.seen.clear()
    signal.signal(signal.SIGALRM, _alarm)
    outcome, what = "read", ""
    signal.setitimer(signal.ITIMER_REAL, CASE_S)
    watch.folder = root / "case"
    try:
        target.read(root / "case" / target.file)
    except DcaseAsdError:
        outcome = "refused"
    except TooLong:
        outcome, what = "findings", f"more than {CASE_S} s"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = next((f for f in reversed(where) if "/dcase_asd/" in f.filename), where[-1])
        outcome, what = "findings", f"{type(error).__name__}: {error!s:.200} ({Path(ours.filename).name}:{ours.lineno})"
    finally:
        watch.folder = None
        signal.setitimer(signal.ITIMER_REAL, 0)
    if watch.seen or {p.name for p in root.iterdir()} != outside:
        outcome, what = "findings", f"{'; '.join(watch.seen) or 'wrote beside its folder'} {what}".strip()
    return outcome, what


def _alarm(*_: object) -> None:
    raise TooLong


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
