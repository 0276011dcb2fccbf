import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # tests/trees.py


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a space and a non-ASCII letter."""
    path = tmp_path / "Daten größe"
    path.mkdir()
    return path
