"""A stage whose code changed has a new version, or someone said that its output did not change.

The digests of the stages' code (docstrings and comments left out) stand in ``stage_versions.json``. After a change, raise
``version`` in the stage if its output changes for the same inputs, then run
``python tests/consistency/test_stage_versions.py --update``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAGES = ROOT / "dcase_asd" / "pipeline" / "stages"
RECORD = Path(__file__).with_name("stage_versions.json")


def digest(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]


def current() -> dict[str, dict[str, object]]:
    from dcase_asd.pipeline.stages import all_stages

    return {
        s.name: {"version": s.version, "code": digest(STAGES / f"{type(s).__module__.rsplit('.', 1)[1]}.py")}
        for s in all_stages()
    }


def test_changed_stages_have_new_versions() -> None:
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert current() == recorded, (
        "a stage changed: raise its version if its output changes for the same inputs, "
        "then run python tests/consistency/test_stage_versions.py --update"
    )


if __name__ == "__main__" and "--update" in sys.argv:
    sys.path.insert(0, str(ROOT))
    RECORD.write_text(json.dumps(current(), indent=2) + "\n", encoding="utf-8")
    print(f"wrote {RECORD.relative_to(ROOT)}")
