"""The connection to an MQTT broker: addresses, and what is said of one that cannot be used, with a real mosquitto."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.servers.mosquitto import PASSWORD, READER, USER, MosquittoServer, mosquitto
from tests.servers.mqtt_reader import reading

from glowplug.clock import SystemClock
from glowplug.drivers.mqtt import MqttConnection
from glowplug.drivers.mqtt_address import MqttAddress
from glowplug.errors import SettingsError, Unreachable

__all__ = ["mosquitto"]


def connection(url: str, heard: asyncio.Queue[str | None], ca_file: Path | None = None) -> MqttConnection:
    address = MqttAddress.parse(url, ca_file=ca_file)
    return MqttConnection(address, presence="there", clock=SystemClock(), on_change=heard.put_nowait)


async def said_of(url: str, ca_file: Path | None = None) -> str | None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    async with asyncio.timeout(20), connection(url, heard, ca_file):
        return await heard.get()


def test_an_address_is_read_from_a_url_and_shown_without_the_password() -> None:
    address = MqttAddress.parse("mqtt://me:s%2Fecret@broker.example.com:1884")
    assert (address.host, address.port, address.user, address.password) == ("broker.example.com", 1884, "me", "s/ecret")
    assert address.shown == "mqtt://me@broker.example.com:1884"
    assert "s/ecret" not in repr(address)


def test_ports_and_tls_follow_from_the_scheme() -> None:
    assert MqttAddress.parse("mqtt://broker").port == 1883
    secure = MqttAddress.parse("mqtts://[::1]/")
    assert (secure.port, secure.tls, secure.user) == (8883, True, None)
    assert secure.shown == "mqtts://[::1]:8883"


@pytest.mark.parametrize(
    "url", ["http://broker", "mqtt://me:secret@broker:99999", "mqtt://me:secret@broker/topic", "mqtt://broker?x=1"]
)
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        MqttAddress.parse(url)
    assert "secret" not in str(refused.value)


async def test_a_ca_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CA file"):
        await connection("mqtts://broker", asyncio.Queue(), tmp_path / "none").start()


async def test_nobody_there_is_told_once_with_the_fix() -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    async with connection("mqtt://127.0.0.1:1", heard) as made:
        async with asyncio.timeout(20):
            assert "start it, or check host and port" in str(await heard.get())
            for _ in range(3):
                with pytest.raises(Unreachable, match="refused the connection"):
                    await made.publish("a", b"b")
                await asyncio.sleep(0.05)
        assert heard.empty()


async def test_a_host_that_can_be_no_name_is_told_with_its_address() -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    async with connection("mqtt://a..b", heard) as made, asyncio.timeout(20):
        assert "a..b" in str(await heard.get())
        with pytest.raises(Unreachable, match=r"a\.\.b"):
            await made.publish("a", b"b")


async def test_a_wrong_login_is_told_with_the_fix(mosquitto: MosquittoServer) -> None:
    host = f"127.0.0.1:{mosquitto.port}"
    wrong = await said_of(f"mqtt://{USER}:guessed@{host}")
    assert wrong is not None
    assert "check user and password in mqtt.url" in wrong
    assert "guessed" not in wrong
    assert "wants a login" in str(await said_of(f"mqtt://{host}"))


async def test_tls_is_checked_and_its_faults_are_told_with_the_fix(mosquitto: MosquittoServer) -> None:
    login = f"{USER}:{quote(PASSWORD, safe='')}"
    secure = f"mqtts://{login}@localhost:{mosquitto.tls_port}"
    assert await said_of(secure, mosquitto.ca_file) is None
    assert "give its CA as mqtt.ca_file" in str(await said_of(secure))
    assert "mqtt://" in str(await said_of(f"mqtts://{login}@localhost:{mosquitto.port}"))


async def test_what_a_broker_takes_and_throws_away_is_no_success(mosquitto: MosquittoServer) -> None:
    url = f"mqtt://{READER}:{quote(PASSWORD, safe='')}@127.0.0.1:{mosquitto.port}"
    assert "allow it to write below mqtt.prefix" in str(await said_of(url))


async def test_stopping_does_not_wait_for_a_broker_that_stands_still(mosquitto: MosquittoServer) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    url = f"mqtt://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{mosquitto.port}"
    up, entering = connection(url, heard), connection(url, asyncio.Queue())
    await up.start()
    assert await heard.get() is None
    with mosquitto.frozen():
        await entering.start()
        await asyncio.sleep(0)
        async with asyncio.timeout(8):
            await entering.stop()
            await up.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_of_two_who_are_there_the_one_who_stays_says_so(mosquitto: MosquittoServer) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    url = f"mqtt://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{mosquitto.port}"
    async with reading(mosquitto, "there") as reader, connection(url, heard):
        assert await heard.get() is None
        async with connection(url, heard):
            assert await heard.get() is None
        await reader.until(lambda seen: seen.of("there")[-2:] == [b"offline", b"online"])
