"""Which addresses we may be sent to by somebody else; no name is looked up here.

Whoever may name a URL for us to call could otherwise reach what only we can reach: the metadata service of the cloud,
databases and admin pages inside the network, ourselves.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from glowplug.errors import InvalidInput

Address = IPv4Address | IPv6Address

# Well-known prefix of networks that reach IPv4 through a translator: the last 32 bits say whom.
_NAT64 = IPv6Network("64:ff9b::/96")
# Public by its number, but each virtual machine of Azure reaches its own host's services there.
_AZURE_HOST = IPv4Address("168.63.129.16")


@dataclass(frozen=True, slots=True)
class Use:
    """What a URL is for: what it came in, what lets it lead into private networks, and what to do with no password."""

    name: str
    setting: str
    instead: str


WEBHOOK = Use("webhook", "GLOWPLUG_WEBHOOKS_ALLOW_PRIVATE", "check the signature instead")
FILE = Use("file", "GLOWPLUG_WORKER_ALLOW_PRIVATE_URLS", "sign the address instead, or upload the file")


class Refused(OSError):
    """An address may not be called, because it is not public."""


def public_socket(
    address: tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]],
) -> socket.socket:
    """Return a socket for an address that is about to be connected to. Raises `Refused` unless it is public.

    Whatever a host was spelled like and however it was looked up, this is where its call comes through. What is checked
    is the very address that the connection is then made to: a name that means something else at the second look (DNS
    rebinding) gains nothing.
    """
    family, kind, protocol, _, place = address
    if family not in (socket.AF_INET, socket.AF_INET6) or not is_public(str(place[0])):
        raise Refused("not a public address")
    return socket.socket(family, kind, protocol)


def is_public(text: str) -> bool:
    """Say whether an IP address belongs to the internet at large; also for IPv4 that is hidden inside IPv6."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return all(_is_public(one) for one in (address, *_hidden(address)))


def checked_url(url: str, *, allow_private: bool, use: Use = WEBHOOK) -> SplitResult:
    """Return the parts of a URL.

    A name is not looked up: what it stands for is checked when it is called, and each time.

    Raises:
        InvalidInput: no http or https URL; or, unless private addresses are allowed, one with a password in it, or
            with an address or a name that is not of the internet at large.
    """
    parts = _parts(url, use)
    host = (parts.hostname or "").rstrip(".").lower()
    if allow_private:
        return parts
    if parts.username is not None or parts.password is not None:
        raise _refused(f"{use.name} takes no user or password in its address; {use.instead}", use)
    address = as_address(host)
    if address is not None and not is_public(str(address)):
        raise _refused(private(host, use), use)
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        raise _refused(private(host, use), use)
    return parts


def as_address(host: str) -> Address | None:
    """Return the address that a host in a URL is, None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def private(host: str, use: Use = WEBHOOK) -> str:
    """Return what is wrong with a host that is not public, and the fix."""
    return (
        f"the {use.name}'s host {host[:80]} is inside a private network: use a public address, "
        f"or set {use.setting}=true if everybody who submits jobs is trusted"
    )


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address in _NAT64):
        return True  # It stands for the IPv4 address in it, which is checked by itself.
    inside = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    local = isinstance(address, IPv6Address) and (address.is_site_local or address.scope_id is not None)
    return address.is_global and not inside and not local and address != _AZURE_HOST


def _hidden(address: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 one leads to: mapped, 6to4, Teredo and NAT64."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _parts(url: str, use: Use) -> SplitResult:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # `127.1` and `2130706433` are addresses to some and names to others.
        odd = host.replace(".", "").isdigit() and as_address(host) is None
        usable = parts.scheme in ("http", "https") and bool(host) and not odd and parts.port != 0
    except ValueError:
        usable = False
    # Python's parser drops line breaks and reads past spaces and backslashes; whoever sends later may not.
    if not usable or not url.isascii() or any(letter <= " " or letter in "\x7f\\" for letter in url):
        raise _refused(f"{use.name} takes an http or https address", use)
    return parts


def _refused(message: str, use: Use) -> InvalidInput:
    return InvalidInput(message, fields=[{"path": use.name, "message": message}])
