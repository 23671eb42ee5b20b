"""What a text-to-speech engine is to the `tts` model."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from glowplug.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OWN = {"hibari": "glowplug.workloads.speech.hibari_engine:opened"}
_OF_ONES_OWN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class Engine(Protocol):
    """Reads sentences aloud, one at a time: calls do not overlap.

    `voices` begins with the one that speaks when none is asked for. `speeds` are the slowest and the fastest; an
    engine without speeds has (1.0, 1.0).
    """

    name: str
    licence: str
    sample_rate: int
    voices: Sequence[str]
    speeds: tuple[float, float]

    def sentences(self, text: str) -> Sequence[str]:
        """Return the parts of `text` that are spoken, and heard, one after the other."""
        ...

    def speak(self, sentence: str, voice: str, speed: float, seed: int | None) -> NDArray[np.float32]:
        """Return mono samples from -1 to 1; none at all for what cannot be spoken.

        Raises:
            InvalidInput: the engine cannot read the sentence.
        """
        ...


def opened(target: str, options: Mapping[str, str]) -> Engine:
    """Return the engine that `target` stands for: "hibari", or `module:function` of one's own, called with `options`.

    Modules of one's own are looked for as those of models are: in the folder that we are in, too.

    Raises:
        SettingsError: there is no such module or function, or an option is wrong.
        MissingExtra: its libraries are not installed.
    """
    if target not in OWN and not _OF_ONES_OWN.fullmatch(target):
        raise SettingsError(f"option engine={target!r}: expected {', '.join(OWN)} or module:function")
    module, _, function = OWN.get(target, target).partition(":")
    here = str(Path.cwd())
    if target not in OWN and here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        # A module that the engine itself needs is another story, and its own message tells it.
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        said = f"option engine={target!r}: there is no module {error.name} (looked from {here})"
        raise SettingsError(said) from error
    except AttributeError as error:
        raise SettingsError(f"option engine={target!r}: {module} has no {function}") from error
    return cast("Engine", found(options))
