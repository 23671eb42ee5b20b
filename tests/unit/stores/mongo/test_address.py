"""Taking the URL of a MongoDB apart."""

from __future__ import annotations

import pytest

from glowplug.errors import SettingsError
from glowplug.stores.mongo.address import MongoAddress

SECRET = "s3cr%40t"


@pytest.mark.parametrize(
    ("url", "database", "shown"),
    [
        ("mongodb://127.0.0.1:27017/glowplug", "glowplug", "mongodb://127.0.0.1:27017/glowplug"),
        (f"mongodb://ann:{SECRET}@db/jobs", "jobs", "mongodb://db/jobs"),
        (
            f"mongodb+srv://ann:{SECRET}@cluster.example.org/jobs?tls=true",
            "jobs",
            "mongodb+srv://cluster.example.org/jobs",
        ),
        ("mongodb://a:1,b:2,[::1]:3/jobs?replicaSet=r", "jobs", "mongodb://a:1,b:2,[::1]:3/jobs"),
        ("mongodb://db/my%2Djobs", "my-jobs", "mongodb://db/my-jobs"),
    ],
)
def test_a_url_names_a_database_and_is_shown_without_its_password(url: str, database: str, shown: str) -> None:
    address = MongoAddress.parse(url)
    assert (address.database, address.shown, address.url) == (database, shown, url)
    assert SECRET not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://db",
        "mongodb://db/",
        f"mongodb://ann:{SECRET}@db/?replicaSet=r",
        f"mongodb://ann:{SECRET}@db",
        f"mongodb+srv://ann:{SECRET}@db/",
    ],
)
def test_a_url_without_a_database_is_refused_with_the_fix(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        MongoAddress.parse(url)
    assert "name one at the end" in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("name", ["a.b", "a%2Fb", "a%20b", "%24where", "x" * 64, "a%00", "a*b"])
def test_a_name_that_no_database_can_have_is_refused(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        MongoAddress.parse(f"mongodb://ann:{SECRET}@db/{name}")
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(
    "url", ["", "mongodb:", "mongodb:///jobs", "postgresql://db/jobs", f"mongodb://ann:{SECRET}@[/jobs"]
)
def test_what_is_no_url_of_a_mongodb_is_refused(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        MongoAddress.parse(url)
    assert "mongodb://user:password@host:27017/glowplug" in caught.value.message
    assert SECRET not in caught.value.message
