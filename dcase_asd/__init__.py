"""dcase_asd: anomaly scores from machine recordings and product pictures.

Public names are lazy: ``import dcase_asd`` loads neither torch nor scikit-learn nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "DcaseAsdError": "dcase_asd.errors",
    "Scorer": "dcase_asd.serving.scorer",
}

__all__ = ["DcaseAsdError", "Scorer", "__version__"]

if TYPE_CHECKING:
    from dcase_asd.errors import DcaseAsdError
    from dcase_asd.serving.scorer import Scorer


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'dcase_asd' has no attribute {name!r}")
