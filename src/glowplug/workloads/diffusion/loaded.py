"""What a load ends in: the pipelines of one model, which share their modules, and where they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Family = Literal["flux", "sdxl", "other"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Pipelines of diffusers; `edit` and `inpaint` are None where the family has none.

    `pixels` is the width and height of a picture unless somebody asks for another; sizes are multiples of `multiple`.
    `steps` and `guidance` are used where the caller names none; with `guidance` None the model takes none at all.
    `negative` says whether it knows negative prompts, `metadata` whether files tell how they came about, unless the
    caller says. `title` names the model in them. Previews come every `preview_seconds`, 0 being never. Pictures of
    one order are drawn together as long as they have no more than `pixels_at_once`, with 0 one after another. A T5
    reads `prompt_tokens` of a prompt. `loras` were melted into the weights.
    """

    family: Family
    generate: Any
    edit: Any | None
    inpaint: Any | None
    device: str
    dtype: str
    pixels: int
    multiple: int
    steps: int = 30
    guidance: float | None = 5.0
    negative: bool = True
    metadata: bool = True
    preview_seconds: float = 1.0
    pixels_at_once: int = 0
    prompt_tokens: int = 512
    title: str = ""
    loras: tuple[str, ...] = ()
