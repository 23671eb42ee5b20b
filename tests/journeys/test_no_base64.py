"""Pictures travel as references: no row, event, message or log line of a run with previews carries their bytes."""

from __future__ import annotations

import base64
import re
import sqlite3
from contextlib import closing
from io import BytesIO

from PIL import Image
from tests.journeys.system import System

MODEL = """
import os, time
from glowplug import Artifact, Image, Model, RunContext, task

class Painter(Model):
    @task
    def paint(self, ctx: RunContext, start: Image) -> Artifact:
        for number in range(2):
            ctx.progress(number, 2, preview=b"\\x89PNG\\r\\n\\x1a\\n" + os.urandom(6000))
            ctx.metrics(loss=1.0 / (number + 1))
            time.sleep(1.1)  # Previews are taken once a second.
        return ctx.save("picture.png", b"\\x89PNG\\r\\n\\x1a\\n" + os.urandom(20000))
"""
# So long a run of these signs is neither a hash nor an id.
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{129,}|;base64,")


def written_picture() -> str:
    stream = BytesIO()
    Image.effect_noise((64, 64), 50).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def rows(plug: System) -> list[str]:
    """Return every value of every row of the store, as text."""
    with closing(sqlite3.connect(plug.folder / "data" / "glowplug.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        values = [value for table in tables for row in database.execute(f'SELECT * FROM "{table}"') for value in row]
    return [value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in values]


def test_a_run_with_previews_writes_references_alone(plug: System) -> None:
    (plug.folder / "painter.py").write_text(MODEL)
    plug.up(plug.folder / "painter.py")
    plug.wait_ready("painter")
    job_id = plug.submit("painter.paint", start=written_picture())
    done = plug.wait_done(job_id)
    assert done["state"] == "completed", done
    events = plug.events(job_id)
    assert [event["data"]["preview"] for event in events if event["type"] == "progress" and event["data"]["preview"]]
    assert done["result"].startswith(f"artifact:jobs/{job_id}/")
    assert done["input"]["start"].startswith("artifact:inputs/")
    written = rows(plug)
    assert any(job_id in value for value in written)
    heard = [str(event) for event in events] + [str(done)]
    assert [value[:200] for value in (*written, *heard, plug.log()) if BASE64.search(value)] == []
    assert plug.http.get(done["artifacts"][0]["url"]).content.startswith(b"\x89PNG")
