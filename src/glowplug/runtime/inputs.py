"""Bringing a job's files to the worker: the artifacts that its input names, and the checkpoint to go on from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glowplug.artifact import SCHEME, Artifact, ArtifactStore, is_folder, is_key
from glowplug.errors import Conflict, Corrupt, NotFound
from glowplug.job import Checkpoint
from glowplug.lifecycle import in_thread
from glowplug.runtime.folders import FolderLimits, Tell, fetch_folder, nobody
from glowplug.runtime.scratch import write_chunks
from glowplug.store import ModelInfo, TaskInfo


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a run begins: at a checkpoint (`step` and its local `path`), or anew because of `reason`."""

    step: int = 0
    path: Path | None = None
    reason: str = ""


def file_keys(references: Sequence[str]) -> list[str]:
    """Return the references that can be keys; a prompt that begins with the scheme's word is none."""
    return [key for key in references if is_key(key.removesuffix("/"))]


async def fetch_inputs(
    artifacts: ArtifactStore,
    keys: Sequence[str],
    folder: Path,
    limits: FolderLimits | None = None,
    tell: Tell = nobody,
) -> dict[str, str]:
    """Copy artifacts into `folder` and map each reference to its local file or folder; `tell` hears of folders.

    Raises:
        NotFound: an artifact is not there, or nothing is below a folder; it is named.
        TooLarge: there is more in a folder than the limits allow.
    """
    files: dict[str, str] = {}
    for number, key in enumerate(keys):
        target = folder / str(number) / key.removesuffix("/").rsplit("/", 1)[-1]
        if is_folder(key):
            await fetch_folder(artifacts, key, target, limits, tell)
        else:
            await _fetch_file(artifacts, key, target)
        files[SCHEME + key] = str(target)
    return files


async def _fetch_file(artifacts: ArtifactStore, key: str, target: Path) -> None:
    try:
        await write_chunks(target, artifacts.read(key))
    except NotFound as error:
        raise NotFound(f"the input names {SCHEME}{key}, which is not there; upload it first", key=key) from error


def is_worth_resuming(checkpoint: Checkpoint, model: ModelInfo, task: TaskInfo) -> bool:
    """Say whether a checkpoint fits the model that runs now.

    Raises:
        Conflict: it does not, and the task refuses to begin again.
    """
    if checkpoint.model_version == model.version:
        return True
    if task.on_new_version == "refuse":
        raise Conflict(
            f"the checkpoint is of {model.name} {checkpoint.model_version}, the worker runs {model.version}; "
            "submit the job anew, or run a worker of the old version"
        )
    return False


async def fetch_checkpoint(artifacts: ArtifactStore, checkpoint: Checkpoint, folder: Path) -> Resumption:
    """Copy a checkpoint into `folder` and check it; a missing or damaged one means to begin anew."""
    target = folder / f"resume-{checkpoint.step}"
    try:
        await write_chunks(target, artifacts.read(checkpoint.artifact.key))
        await in_thread(None, _verify, target, checkpoint.artifact)
    except (NotFound, Corrupt) as error:
        return Resumption(reason=f"the checkpoint of step {checkpoint.step} cannot be used: {error.message}")
    return Resumption(checkpoint.step, target)


def _verify(path: Path, artifact: Artifact) -> None:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != artifact.sha256:
        raise Corrupt(f"{artifact.key} is not what was written")
