"""Files are what their digests say, or it is said which are not."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from glowplug.errors import Corrupt, NotFound, SettingsError
from glowplug.process.digests import InPlace, listed_digests, mismatches

A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()


class TestLists:
    def test_a_list_is_read_as_sha256sum_writes_it(self, tmp_path: Path) -> None:
        (tmp_path / "SHA256SUMS").write_text(f"{A}  net.bin\n{B.upper()} *./sub folder/b.bin\n\n")
        assert listed_digests(tmp_path) == {"net.bin": A, "sub folder/b.bin": B}

    def test_no_list_is_nothing_to_check(self, tmp_path: Path) -> None:
        assert listed_digests(tmp_path) == {}
        (tmp_path / "file").write_text("x")
        assert listed_digests(tmp_path / "file") == {}

    @pytest.mark.parametrize("text", ["hello", f"{A}net.bin", f"{A[:-1]}  net.bin", f"{A}  "])
    def test_something_else_is_no_list(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "SHA256SUMS").write_text(text)
        with pytest.raises(Corrupt, match="sha256sum"):
            listed_digests(tmp_path)

    def test_absent_and_different_files_do_not_match(self) -> None:
        assert mismatches({"same": A, "absent": A, "other": A}, {"same": A, "other": B, "more": A}) == [
            "absent",
            "other",
        ]


class TestInPlace:
    async def check(self, path: Path, sha256: str | None, memory: Path) -> tuple[int, list[int]]:
        """Measure and verify; return what was to be read, and what was told."""
        told: list[int] = []
        weights = InPlace(path, sha256, memory)
        size_bytes = await weights.measure()
        assert await weights.run(told.append) == path
        return size_bytes, told

    async def test_without_a_digest_nothing_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "net.bin").write_bytes(b"a")
        assert await self.check(tmp_path / "net.bin", None, tmp_path / "memory") == (0, [])
        assert await self.check(tmp_path, None, tmp_path / "memory") == (0, [])
        assert not (tmp_path / "memory").exists()

    async def test_a_digest_is_verified_once_until_the_file_changes(self, tmp_path: Path) -> None:
        net, memory = tmp_path / "net.bin", tmp_path / "memory"
        net.write_bytes(b"a")
        assert await self.check(net, A, memory) == (1, [1])
        assert await self.check(net, A, memory) == (0, [])
        net.write_bytes(b"b")
        os.utime(net, (1e9, 1e9))
        with pytest.raises(Corrupt, match=A):
            await self.check(net, A, memory)
        assert net.read_bytes() == b"b"

    async def test_another_digest_of_the_same_file_is_verified_again(self, tmp_path: Path) -> None:
        (tmp_path / "net.bin").write_bytes(b"a")
        await self.check(tmp_path / "net.bin", A, tmp_path / "memory")
        with pytest.raises(Corrupt):
            await self.check(tmp_path / "net.bin", B, tmp_path / "memory")

    async def test_the_list_of_a_folder_is_verified(self, tmp_path: Path) -> None:
        model, memory = tmp_path / "model", tmp_path / "memory"
        model.mkdir()
        (model / "a.bin").write_bytes(b"a")
        (model / "b.bin").write_bytes(b"b")
        (model / "SHA256SUMS").write_text(f"{A}  a.bin\n{B}  b.bin\n")
        assert await self.check(model, None, memory) == (2, [1, 2])
        assert await self.check(model, None, memory) == (0, [])
        (model / "b.bin").write_bytes(b"c")
        with pytest.raises(Corrupt, match=r"b\.bin has the SHA-256"):
            await self.check(model, None, memory)

    async def test_a_listed_file_that_is_absent_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "SHA256SUMS").write_text(f"{A}  a.bin\n")
        with pytest.raises(Corrupt, match=r"lists a\.bin, which is not there"):
            await self.check(tmp_path, None, tmp_path / "memory")

    async def test_a_memory_that_cannot_be_written_or_read_only_costs_time(self, tmp_path: Path) -> None:
        (tmp_path / "net.bin").write_bytes(b"a")
        (tmp_path / "memory").write_text("not a folder")
        for _ in range(2):
            assert await self.check(tmp_path / "net.bin", A, tmp_path / "memory") == (1, [1])

    async def test_a_digest_for_a_folder_and_nothing_at_all_are_said(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError, match="is for one file"):
            await self.check(tmp_path, A, tmp_path / "memory")
        with pytest.raises(NotFound, match="no weights at"):
            await self.check(tmp_path / "absent", None, tmp_path / "memory")
