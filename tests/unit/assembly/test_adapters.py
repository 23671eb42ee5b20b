"""From URLs to adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from glowplug.artifacts.disk import DiskArtifacts
from glowplug.artifacts.objects import ObjectArtifacts
from glowplug.assembly.adapters import extra, open_artifacts, open_broker, open_store
from glowplug.brokers.rows import RowsBroker
from glowplug.clock import ManualClock, SystemClock
from glowplug.errors import MissingExtra, SettingsError
from glowplug.settings import Settings
from glowplug.stores.memory import MemoryStore
from glowplug.stores.sql import SqlStore


def refusal(url: str, kind: str) -> str:
    ways: dict[str, Callable[[], object]] = {
        "store": lambda: open_store(url, ManualClock()),
        "broker": lambda: open_broker(url, ManualClock()),
        "artifacts": lambda: open_artifacts(url),
    }
    with pytest.raises(SettingsError) as caught:
        ways[kind]()
    assert "\n" not in caught.value.message
    return caught.value.message


async def whole(data: bytes) -> AsyncIterator[bytes]:
    yield data


def test_a_store_may_live_in_memory() -> None:
    assert isinstance(open_store("memory:", ManualClock()), MemoryStore)


def test_a_store_may_be_a_file(tmp_path: Path) -> None:
    assert isinstance(open_store(f"sqlite:///{tmp_path / 'jobs.db'}", ManualClock()), SqlStore)


@pytest.mark.parametrize("name", ["plain", "a b", "100%20", "é#1", "who?"])
async def test_the_store_of_the_defaults_opens_in_the_data_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    settings = Settings.load({"GLOWPLUG_DATA": str(folder)})
    async with open_store(settings.store_url, SystemClock()) as store:
        assert await store.depths() == {}
    assert (folder / "glowplug.db").is_file()


def test_the_rows_of_the_store_may_be_the_queue() -> None:
    assert isinstance(open_broker("rows", ManualClock()), RowsBroker)


@pytest.mark.parametrize(
    ("url", "kind", "shared"),
    [
        ("postgresql://ann:pw@db/jobs", "SqlStore", True),
        ("postgres://ann:pw@db/jobs", "SqlStore", True),
        ("mongodb://db/jobs", "MongoStore", True),
        ("sqlite:////tmp/jobs.db", "SqlStore", False),
    ],
)
def test_a_store_may_be_a_server_that_gateways_share(url: str, kind: str, shared: bool) -> None:
    store = open_store(url, ManualClock())
    assert (type(store).__name__, store.shared) == (kind, shared)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("amqp://ann:pw@mq/", "RabbitBroker"),
        ("amqps://ann:pw@mq/vhost", "RabbitBroker"),
        ("sqs://eu-west-1/glowplug", "SqsBroker"),
    ],
)
def test_a_broker_may_carry_the_hints(url: str, kind: str) -> None:
    broker = open_broker(url, ManualClock())
    assert (type(broker).__name__, broker.carries) == (kind, True)


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(MissingExtra, match=r"glowplug\[mongo\]"), extra("mongo", "a store on MongoDB"):
        raise ModuleNotFoundError("No module named 'pymongo'", name="pymongo")


def test_a_module_of_ours_that_is_missing_is_no_missing_library() -> None:
    with pytest.raises(ModuleNotFoundError), extra("mongo", "a store on MongoDB"):
        raise ModuleNotFoundError("No module named 'glowplug.stores.gone'", name="glowplug.stores.gone")


def test_artifacts_may_lie_in_a_folder(tmp_path: Path) -> None:
    assert isinstance(open_artifacts(tmp_path.as_uri()), DiskArtifacts)


async def test_a_folder_with_odd_letters_is_the_one_that_is_meant(tmp_path: Path) -> None:
    folder = tmp_path / "a b%20c é#?"
    settings = Settings.load({"GLOWPLUG_DATA": str(folder)})
    async with open_artifacts(settings.artifacts_url) as artifacts:
        await artifacts.put("key", whole(b"data"))
    assert (folder / "artifacts" / "key").read_bytes() == b"data"


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_artifacts_may_lie_in_object_storage(scheme: str) -> None:
    assert isinstance(open_artifacts(f"{scheme}://bucket/prefix"), ObjectArtifacts)


@pytest.mark.parametrize(
    ("kind", "url", "known"),
    [
        ("store", "mysql://db/jobs", "sqlite:////path"),
        ("store", "jobs.db", "memory:"),
        ("broker", "kafka://host", "rows"),
        ("broker", "", "rows"),
        ("artifacts", "ftp://host/files", "file, s3, gs, az"),
        ("artifacts", "/plain/path", "file"),
    ],
)
def test_an_unknown_kind_is_answered_with_the_known_ones(kind: str, url: str, known: str) -> None:
    message = refusal(url, kind)
    assert message.startswith(f"{kind} = {url}")
    assert known in message


@pytest.mark.parametrize("kind", ["store", "broker", "artifacts"])
@pytest.mark.parametrize("who", ["user:hunter2@", "hunter2@", "a:hunter2@b@"])
def test_a_password_is_not_shown(kind: str, who: str) -> None:
    message = refusal(f"odd://{who}host:5432/name", kind)
    assert "hunter2" not in message
    assert "odd://host:5432/name" in message
