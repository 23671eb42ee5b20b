"""`glowplug upload`: files in, references out."""

from __future__ import annotations

import hashlib

import pytest
from tests.unit.cli.commands import Command
from tests.unit.client.play import Play

from glowplug.client import files as client_files


@pytest.mark.usefixtures("play")
class TestUpload:
    def test_each_file_becomes_a_reference_on_a_line(self, glowplug: Command) -> None:
        names = ["a.txt", "b c.txt"]
        for name in names:
            (glowplug.folder / name).write_text(name)
        done = glowplug("upload", *[str(glowplug.folder / name) for name in names])
        assert done.code == 0
        assert [line.rpartition("/")[2] for line in done.out.splitlines()] == names
        assert all(line.startswith("artifact:inputs/") for line in done.out.splitlines())

    def test_json_tells_size_and_hash(self, glowplug: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client_files, "PARTED_FROM_BYTES", 10)
        data = b"x" * 1000
        (glowplug.folder / "large.bin").write_bytes(data)
        (artifact,) = glowplug("upload", "--json", str(glowplug.folder / "large.bin")).json["artifacts"]
        assert (artifact["size_bytes"], artifact["sha256"]) == (1000, hashlib.sha256(data).hexdigest())

    def test_what_goes_in_as_one_reference_runs_in_a_job(self, glowplug: Command, play: Play) -> None:
        (glowplug.folder / "five").write_bytes(b"12345")
        uri = glowplug("upload", str(glowplug.folder / "five")).out.strip()
        assert glowplug("run", "play.measure", f"file={uri}").out.strip() == "5"

    def test_a_file_that_is_not_there_is_named(self, glowplug: Command) -> None:
        done = glowplug("upload", str(glowplug.folder / "absent.bin"))
        assert done.code != 0
        assert "absent.bin" in done.error
