import sys
from pathlib import Path

# `material` is shared by the contract tests and is no test file itself
sys.path.insert(0, str(Path(__file__).parent))
