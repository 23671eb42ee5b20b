"""The stack of linear layers with torch and safetensors alone: load, one forward, the end."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.models.big_stack import built, forward

print(f"done {forward(built(Path(sys.argv[1])))}", flush=True)
