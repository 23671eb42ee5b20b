"""The first model of a newcomer: a file that runs as it is and says what to change."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from glowplug.errors import SettingsError

_TEMPLATE = '''\
"""{title}: a model for Glowplug.

    glowplug up {file} --reload        start it; a change of this file starts it again
    glowplug status --wait
    glowplug run {name}.greet name=Ada times=3
"""

from glowplug import Model, RunContext, task


class {title}(Model):
    # weights = {{"net": "s3://models/{name}"}}     # fetched once per machine; ctx.weights["net"] is then a local path

    def load(self, ctx):
        """Bring the model into memory. Runs once, in a process of its own, before any task."""
        with ctx.stage("build greeting"):
            self.greeting = "Hello"

    @task(example={{"name": "world"}})
    def greet(self, ctx: RunContext, name: str, times: int = 1) -> str:
        """Greet somebody."""
        for step in range(times):
            ctx.check()                      # raises when the job is canceled or the machine leaves
            ctx.progress(step + 1, times)    # shown live by the command line, the API and the streams
        return " ".join([f"{{self.greeting}}, {{name}}!"] * times)
'''


def write_model(name: str, folder: Path) -> Path:
    """Write `name.py` with a first model into `folder` and return its path.

    Raises:
        SettingsError: the name is not a Python name, or the file is there already.
    """
    word = re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")
    if not word.isidentifier() or keyword.iskeyword(word):
        raise SettingsError(f"{name!r} cannot name a model; use letters, digits and _, beginning with a letter")
    path = folder / f"{word}.py"
    title = "".join(part.capitalize() for part in word.split("_"))
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(_TEMPLATE.format(title=title, name=title.lower(), file=path.name))
    except FileExistsError as error:
        raise SettingsError(f"{path} is there already; choose another name") from error
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}") from error
    return path
