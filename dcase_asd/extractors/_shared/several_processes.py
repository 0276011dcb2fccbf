"""One extractor fitted by several processes: torchrun starts them, each calls ``fit``, the first one's result is taken over.

The request lies in the work folder as JSON; so do errors, which come back as what they were. The processes hold on to the
runner's lock: when it is released, the runner is gone, and they end.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dcase_asd import config as configs
from dcase_asd import errors
from dcase_asd.errors import DcaseAsdError, TrainingError
from dcase_asd.extractors.base import Extractor, TrainingData
from dcase_asd.features.store import FeatureFolder
from dcase_asd.io.arrays import load_tensors, save_tensors
from dcase_asd.io.atomic import remove_tree, write_json

__all__ = ["fit"]

_REQUEST, _RESULT, _LOCK = "request.json", "fitted.safetensors", "runner.lock"
_WATCH_S = 0.5


def fit(
    extractor: Extractor[Any],
    data: TrainingData,
    *,
    seed: int,
    workdir: Path,
    device: str,
    log: Callable[[str], None],
    n_processes: int,
) -> None:
    """Fit an extractor by ``n_processes`` processes on this machine and load what the first one made.

    Raises
    ------
    DcaseAsdError
        What a process raised.
    TrainingError
        If one died.
    """
    folder = workdir / "processes"
    remove_tree(folder)
    request = {
        "module": type(extractor).__module__,
        "class": type(extractor).__name__,
        "config": configs.to_dict(extractor.config),
        "features": str(data.features.path.resolve()),
        "machine": data.machine,
        "valid_clips": sorted(data.valid_clips),
        "segment_frames": data.segment_frames,
        "seed": seed,
        "workdir": str(workdir.resolve()),
        "device": device,
    }
    write_json(folder / _REQUEST, request)
    log(f"{data.machine}: trained by {n_processes} processes")
    with _held(folder / _LOCK):
        _run(folder, n_processes, log)
    extractor.load_state(load_tensors(folder / _RESULT))
    remove_tree(folder)


def _run(folder: Path, n_processes: int, log: Callable[[str], None]) -> None:
    options = ["--standalone", "--nnodes=1", f"--nproc_per_node={n_processes}", "-m", __name__, str(folder)]
    line = [sys.executable, "-m", "torch.distributed.run", *options]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    last: deque[str] = deque(maxlen=10)
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as running:
        for text in running.stdout or ():
            last.append(text.rstrip())
            log(text.rstrip())
        code = running.wait()
    for path in sorted(folder.glob("error-*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        kind = getattr(errors, found["kind"], TrainingError)
        raise kind(found["message"]) if kind is not errors.UnknownNameError else TrainingError(found["message"])
    if code:
        raise TrainingError(f"a training process ended with code {code}; its last lines: {' | '.join(last)}")


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _end_with_the_runner(path: Path) -> None:
    with path.open("a") as stream:
        while True:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os._exit(1)  # its holder is gone
            time.sleep(_WATCH_S)


def _fit_here(folder: Path) -> None:
    """Fit in this process, one of those that torchrun started."""
    request = json.loads((folder / _REQUEST).read_text(encoding="utf-8"))
    threading.Thread(target=_end_with_the_runner, args=(folder / _LOCK,), daemon=True).start()
    leads = os.environ["RANK"] == "0"
    module = importlib.import_module(request["module"])
    extractor = getattr(module, request["class"])(configs.build(module.Config, request["config"], where="extractor"))
    data = TrainingData(
        features=FeatureFolder(Path(request["features"])),
        machine=request["machine"],
        valid_clips=frozenset(request["valid_clips"]),
        segment_frames=request["segment_frames"],
    )
    log: Callable[[str], None] = _say if leads else _drop
    try:
        extractor.fit(data, seed=request["seed"], workdir=Path(request["workdir"]), device=request["device"], log=log)
        if leads:
            save_tensors(folder / _RESULT, extractor.state())
    except DcaseAsdError as error:
        write_json(folder / f"error-{os.environ['RANK']}.json", {"kind": type(error).__name__, "message": str(error)})
        sys.exit(1)


def _say(text: str) -> None:
    print(text, flush=True)


def _drop(text: str) -> None:
    del text


if __name__ == "__main__":
    _fit_here(Path(sys.argv[1]))
    # what torch takes down at the end of an interpreter has been seen to abort it; all is written by now
    sys.stdout.flush()
    os._exit(0)
