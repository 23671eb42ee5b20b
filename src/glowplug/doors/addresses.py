"""Which addresses we may be sent to by somebody else: pure functions, and no name is looked up here.

Whoever may name a URL for us to call could otherwise reach what only we can reach: the metadata service of the cloud,
databases and admin pages inside the network, ourselves.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from glowplug.errors import InvalidInput

Address = IPv4Address | IPv6Address

# Well-known prefix of networks that reach IPv4 through a translator: the last 32 bits say whom.
_NAT64 = IPv6Network("64:ff9b::/96")
# Public by its number, but each virtual machine of Azure reaches its own host's services there.
_AZURE_HOST = IPv4Address("168.63.129.16")
_HOW = "use a public address, or set GLOWPLUG_WEBHOOKS_ALLOW_PRIVATE=true if everybody who submits jobs is trusted"


def is_public(text: str) -> bool:
    """Say whether an IP address belongs to the internet at large; also for IPv4 that is hidden inside IPv6."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return all(_is_public(one) for one in (address, *_hidden(address)))


def checked_url(url: str, *, allow_private: bool) -> SplitResult:
    """Return the parts of a webhook's URL.

    A name is not looked up: what it stands for is checked when it is called, and each time.

    Raises:
        InvalidInput: no http or https URL; or, unless private addresses are allowed, one with a password in it, or
            with an address or a name that is not of the internet at large.
    """
    parts = _parts(url)
    host = (parts.hostname or "").rstrip(".").lower()
    if allow_private:
        return parts
    if parts.username is not None or parts.password is not None:
        raise _refused("webhook takes no user or password in its address; check the signature instead")
    address = as_address(host)
    if address is not None and not is_public(str(address)):
        raise _refused(private(host))
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        raise _refused(private(host))
    return parts


def as_address(host: str) -> Address | None:
    """Return the address that a host in a URL is, None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def private(host: str) -> str:
    """Return what is wrong with a host that is not public, and the fix."""
    return f"the webhook's host {host[:80]} is inside a private network: {_HOW}"


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


def _parts(url: str) -> SplitResult:
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
        raise _refused("webhook takes an http or https address")
    return parts


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, fields=[{"path": "webhook", "message": message}])
