"""Where a MongoDB is: the URL taken apart as far as it is needed, and shown without its password."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from glowplug.errors import SettingsError

SCHEMES = ("mongodb", "mongodb+srv")
_FORBIDDEN = frozenset('/\\. "$*<>:|?\0')
_NAME_LIMIT = 63
_EXAMPLE = "mongodb://user:password@host:27017/glowplug"


@dataclass(frozen=True, slots=True)
class MongoAddress:
    """A URL, the database it names, and its form for messages and logs."""

    url: str = field(repr=False)
    database: str
    shown: str

    @classmethod
    def parse(cls, url: str) -> MongoAddress:
        """Take a URL apart. Raises `SettingsError`, which never holds the password."""
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise SettingsError(f"the store's URL cannot be read; it looks like {_EXAMPLE}") from error
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise SettingsError(f"not a MongoDB URL: it looks like {_EXAMPLE}")
        hosts = parts.netloc.rpartition("@")[2]
        database = unquote(parts.path.removeprefix("/"))
        if not database:
            raise SettingsError(f"no database in {parts.scheme}://{hosts}/: name one at the end, as in {_EXAMPLE}")
        if len(database.encode(errors="replace")) > _NAME_LIMIT or _FORBIDDEN & set(database):
            raise SettingsError(f"{database[:80]!r} cannot be the name of a database; take letters, digits, _ and -")
        return cls(url, database, f"{parts.scheme}://{hosts}/{database}")
