"""Pipelines of the hub, over HTTP from a small server that speaks its language."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.workloads.diffusion.by_hand import VAE, flux_folder, safetensors
from tests.unit.workloads.diffusion.hub_server import HubServer, serving

from glowplug.errors import DiskFull, SettingsError, Unreachable
from glowplug.workloads.diffusion import hub

CHUNK_BYTES = 10 << 20
"""What the library writes at once; less than that is asked for again."""
NETWORK = "diffusion_pytorch_model"
# The library reads its settings once, when it is imported: so each download is a process of its own.
SCRIPT = """
import json, sys
from glowplug.errors import GlowplugError
from glowplug.workloads.diffusion import hub
told = []
try:
    found = hub.pipeline_folder("owner/name", None, None, lambda done, total: told.append((done, total)))
    print(json.dumps({"folder": str(found), "told": told}))
except GlowplugError as error:
    print(json.dumps({"error": type(error).__name__, "message": error.message}))
"""


def download(server: HubServer, home: Path, **more: str) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", **more}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return what a repository of the hub looks like: the pipeline, and much that a load does not need."""
    folder = flux_folder(tmp_path / "repository")
    safetensors(folder / "flux1.safetensors", {"everything.weight": (100, 100)})
    safetensors(folder / "vae" / f"{NETWORK}.fp16.safetensors", VAE, "F16")
    safetensors(folder / "transformer" / f"{NETWORK}.safetensors", {"x_embedder.weight": (32, 16), "big": (1700, 1700)})
    (folder / "vae" / f"{NETWORK}.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_text("words")
    return folder


def test_a_pipeline_is_brought_in_bytes_resumed_where_it_broke_off_and_found_again(
    repository: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with serving(HubServer(repository, hang_up_after=CHUNK_BYTES + 1000)) as server:
        found = download(server, home)
    folder = Path(found["folder"])
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "transformer/config.json",
        f"transformer/{NETWORK}.safetensors",
        "vae/config.json",
        f"vae/{NETWORK}.safetensors",
    ]
    large = f"transformer/{NETWORK}.safetensors"
    assert (folder / large).read_bytes() == (repository / large).read_bytes()
    ranges = [asked for path, asked in server.asked if path.endswith(large)]
    assert ranges == ["", f"bytes={CHUNK_BYTES}-"], "what had come was not asked for again"
    done, total = found["told"][-1]
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "model_index.json"]
    assert done == total == sum(sizes)
    assert download(server, home, HF_HUB_OFFLINE="1")["folder"] == str(folder), "the hub is away, and not needed"
    (folder / large).unlink()
    assert download(server, home, HF_HUB_OFFLINE="1")["error"] == "Unreachable"


@pytest.mark.parametrize(
    ("status", "code", "error", "told"),
    [
        (404, "RepoNotFound", "SettingsError", "owner/name: the hub has no such model or revision, or it needs"),
        (403, "GatedRepo", "SettingsError", "only given to those who accepted its licence on the hub: do so, and"),
        (404, "EntryNotFound", "SettingsError", "owner/name is no pipeline of diffusers"),
    ],
)
def test_what_the_hub_says_is_told(tmp_path: Path, status: int, code: str, error: str, told: str) -> None:
    with serving(HubServer(tmp_path, status=status, code=code)) as server:
        found = download(server, tmp_path / "home")
    assert found["error"] == error
    assert told in found["message"]


def test_a_repository_of_pickles_alone_is_refused(repository: Path, tmp_path: Path) -> None:
    for path in repository.rglob("*.safetensors"):
        path.unlink()
    with serving(HubServer(repository)) as server:
        found = download(server, tmp_path / "home")
    assert found["error"] == "SettingsError"
    assert found["message"].startswith("owner/name holds no safetensors: pickles are never opened")


NAMES = [
    "model_index.json",
    "README.md",
    "sdxl.safetensors",
    "unet/config.json",
    f"unet/{NETWORK}.safetensors",
    f"unet/{NETWORK}.fp16.safetensors",
    f"unet/{NETWORK}.bin",
    "text_encoder/model.fp16-00001-of-00002.safetensors",
    "text_encoder/model.fp16-00002-of-00002.safetensors",
    "text_encoder/model-00001-of-00001.safetensors",
    "text_encoder/model.safetensors.index.json",
    "tokenizer/merges.txt",
    "tokenizer/spiece.model",
    "unet_onnx/model.safetensors",
    "unet/deep/model.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
]
COMPONENTS = ["unet", "text_encoder", "tokenizer", "vae"]


def test_of_each_component_one_variant_is_brought() -> None:
    assert hub.wanted_files(NAMES, COMPONENTS, None) == [
        "model_index.json",
        "unet/config.json",
        "text_encoder/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "tokenizer/spiece.model",
        f"unet/{NETWORK}.safetensors",
        "text_encoder/model-00001-of-00001.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]
    half = [name for name in hub.wanted_files(NAMES, COMPONENTS, "fp16") if name.endswith(".safetensors")]
    assert half == [
        f"unet/{NETWORK}.fp16.safetensors",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]


def test_a_full_disk_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", full)
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", full)
    with pytest.raises(DiskFull, match="no room for owner/name: free some, or set HF_HOME to another disk"):
        hub.pipeline_folder("owner/name", None, None, lambda done, total: None)


def test_a_lora_of_the_hub_is_a_file_or_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", lambda *given, **_: asked.append(given) or "/one/file")
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", lambda *given, **_: asked.append(given) or "/folder")
    assert hub.lora_path("owner/name/styles/a.safetensors", lambda done, total: None) == Path("/one/file")
    assert hub.lora_path("owner/name", lambda done, total: None) == Path("/folder")
    assert asked == [("owner/name", "styles/a.safetensors"), ("owner/name",)]


def test_a_hub_without_a_way_to_it_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **options: object) -> str:
        raise ConnectionError("Name or service\nnot known")

    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", away)
    with pytest.raises(Unreachable, match="the hub did not give owner/name: Name or service not known"):
        hub.lora_path("owner/name", lambda done, total: None)


def test_a_damaged_index_of_the_hub_is_no_network_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{")
    monkeypatch.setattr(hub.huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "model_index.json"))
    monkeypatch.setattr(hub.huggingface_hub, "list_repo_files", lambda *_, **__: [])
    with pytest.raises(SettingsError, match=r"model_index\.json is damaged"):
        hub.pipeline_folder("owner/name", None, None, lambda done, total: None)
