import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]  # zenodo_server.py, tests/trees.py


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a space and a non-ASCII letter."""
    path = tmp_path / "Daten größe"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback addresses only: no proxy of the surroundings comes between."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "DCASE_ASD_ZENODO_URL"):
        monkeypatch.delenv(name, raising=False)
