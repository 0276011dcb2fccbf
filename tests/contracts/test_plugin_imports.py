"""Reading a plug-in's ``Config`` and ``INFO`` must stay fast: plug-in modules load no heavy library."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from material import ROOT

from dcase_asd import registry

HEAVY = ("torch", "sklearn", "pandas", "scipy", "librosa")


def _loaded_after(statements: str) -> set[str]:
    code = f"import sys\n{statements}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("kind", registry.KINDS)
def test_importing_every_plugin_loads_no_heavy_library(kind: str) -> None:
    names = registry.names(kind)
    loads = "\n".join(f"registry.load({kind!r}, {name!r})" for name in names)
    assert _loaded_after(f"from dcase_asd import registry\n{loads}") == set()


def test_the_check_would_notice() -> None:
    assert _loaded_after("import scipy") == {"scipy"}
