"""Where an MQTT broker is, how it is trusted, and in words why it cannot be used."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from glowplug.errors import SettingsError

PORTS = {"mqtt": 1883, "mqtts": 8883}
ANSWER_SECONDS = 10.0
_WRONG_PROTOCOL, _BAD_LOGIN, _NOT_AUTHORIZED = 132, 134, 135


@dataclass(frozen=True, kw_only=True)
class MqttAddress:
    """Where an MQTT broker is, and who we are there. The password is in no text made of this."""

    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)
    tls: bool = False
    ca_file: Path | None = None

    @classmethod
    def parse(cls, url: str, *, ca_file: Path | None = None) -> MqttAddress:
        """Read `mqtt://user:password@host:port` or `mqtts://…`. Raises `SettingsError`, without the password."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS:
            raise SettingsError(f"an address of an MQTT broker begins with mqtt:// or mqtts://, not {parts.scheme!r}")
        if parts.path.strip("/") or parts.query:
            raise SettingsError("an address of an MQTT broker ends with the port; topics are set by mqtt.prefix")
        try:
            port = parts.port or PORTS[parts.scheme]
        except ValueError as error:
            raise SettingsError("the port in the address of the MQTT broker is not a number up to 65535") from error
        return cls(
            host=parts.hostname or "localhost",
            port=port,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
            tls=parts.scheme == "mqtts",
            ca_file=ca_file,
        )

    @property
    def shown(self) -> str:
        """Return the URL without the password, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{f'{self.user}@' if self.user else ''}{host}:{self.port}"

    def trust(self) -> SSLContext | None:
        """Return how the broker's certificate is checked, None without TLS. Raises `SettingsError`."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise SettingsError(f"the CA file {self.ca_file} of {self.shown} cannot be used: {error}") from error
        context.sslsocket_class = _SecureSocket
        return context


class _SecureSocket(ssl.SSLSocket):
    """A socket that paho need not close when nobody could agree, which it forgets."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def explain(error: aiomqtt.MqttError, address: MqttAddress) -> str:
    """Say in words why the broker cannot be used, and what mends it."""
    where = f"the MQTT broker at {address.shown}"
    cause = error.__context__
    if isinstance(error, aiomqtt.MqttCodeError) and isinstance(error.rc, ReasonCode):
        return _explain_code(error, error.rc, where, address)
    match cause:
        case ssl.SSLCertVerificationError():
            return f"{where}: its certificate is not trusted ({cause.verify_message}); give its CA as mqtt.ca_file"
        case ssl.SSLError():
            return f"{where} does not speak TLS there ({cause.reason}): check the port, or use mqtt://"
        case ConnectionResetError() if address.tls:
            return f"{where} hung up: check the port; one without TLS wants mqtt://"
        case ConnectionRefusedError():
            return f"{where} refused the connection: start it, or check host and port"
        case OSError() if not isinstance(cause, TimeoutError):
            return f"{where} cannot be reached: {cause.strerror or cause}"
    if isinstance(error, aiomqtt.MqttCodeError) or "Disconnected" in str(error):
        return f"the connection to {address.shown} was lost"
    return f"{where} did not answer within {ANSWER_SECONDS:g} s: check host and port; one with TLS wants mqtts://"


def _explain_code(error: aiomqtt.MqttCodeError, code: ReasonCode, where: str, address: MqttAddress) -> str:
    connecting = isinstance(error, aiomqtt.exceptions.MqttConnectError)
    if connecting and code.value in (_BAD_LOGIN, _NOT_AUTHORIZED):
        if address.user is None:
            return f"{where} wants a login: write it into mqtt.url, as in mqtt://user:password@host"
        return f"{where} refused the login of {address.user!r}: check user and password in mqtt.url"
    if connecting and code.value == _WRONG_PROTOCOL:
        return f"{where} does not speak MQTT 5: update it, or use another one"
    if code.value == _NOT_AUTHORIZED:
        return f"{where} does not let {address.user or 'us'!r} publish: allow it to write below mqtt.prefix"
    return f"{where} refused: {code}"
