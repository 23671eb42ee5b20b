"""Run on a machine with a CUDA card: `python -m benchmarks.gpu [--gigabytes 8] [--steps 20] [--json FILE]`.

Prints one table and one line of JSON. Needs torch with CUDA, diffusers and transformers; no hub, no weights to fetch.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

NO_CARD = "there is no CUDA card that torch can use here: run this on a machine with one (nothing was measured)"


def main(words: list[str]) -> int:
    """Measure all and print it; 3 without a card."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--gigabytes", type=float, default=8.0, help="of weights for the loads (default 8)")
    parser.add_argument("--steps", type=int, default=20, help="of each picture (default 20)")
    parser.add_argument("--pixels", type=int, default=1024, help="width and height of a picture (default 1024)")
    parser.add_argument("--runs", type=int, default=5, help="of each kind (default 5)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    chosen = parser.parse_args(words)
    if (lack := lacking()) is not None:
        print(lack, file=sys.stderr)
        return 3
    figures = measured(chosen)
    print(json.dumps(figures))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=1))
    return 0


def lacking() -> str | None:
    """Return in words what keeps this machine from being measured, None if nothing does."""
    try:
        import torch
    except ImportError:
        return "torch is not installed: pip install 'glowplug[diffusion]' (nothing was measured)"
    return None if torch.cuda.is_available() else NO_CARD


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return all figures, having printed them as a table."""
    import torch

    from benchmarks.gpu import bandwidth, pictures, stay
    from benchmarks.report import show

    card = torch.cuda.get_device_properties(0)
    figures: dict[str, Any] = {"card": card.name, "card_bytes": card.total_memory, "torch": torch.__version__}
    figures |= {"bandwidth": bandwidth.measured(chosen.gigabytes, chosen.runs)}
    figures |= {"stay": stay.measured(chosen.gigabytes, chosen.runs, figures["bandwidth"])}
    figures |= {"pictures": pictures.measured(chosen.steps, chosen.pixels, chosen.runs)}
    show([*bandwidth.shown(figures["bandwidth"]), *stay.shown(figures["stay"]), *pictures.shown(figures["pictures"])])
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
