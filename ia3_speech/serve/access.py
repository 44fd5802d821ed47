"""API keys: the adapters that each key may use and change, and its limit on requests.

    - name: clinic                      appears in the log
      key: sk-3f9c…                     or its hash: sha256:9b74…
      adapters: [medical]               may use: names, or patterns of names; everybody may use the base
      manage: ["dr-*"]                  may use, make, replace and remove: adapters and voices of these names
      start: medical                    the adapter from which the training of its voices starts
      admin: true                       may list the names of all voices, and delete each voice

In: a YAML file, which is read again when it changes; the headers of a request. Out: a `Client`, or an error.
To a key, an adapter that it may not use does not exist: no list, error or response time shows its name.
A voice that was made on the page belongs to the name of its key, whatever the patterns of other keys.
"""

import hashlib
import logging
import re
import time
import unicodedata
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, field_validator

from ia3_speech.adapters.registry import VERSION
from ia3_speech.common.errors import UserError
from ia3_speech.serve.errors import ApiError, invalid
from ia3_speech.voices.store import NOBODY, voice_record

logger = logging.getLogger(__name__)

HASHED = "sha256:"
PROTOCOL = "openai-insecure-api-key."  # browsers can't set headers of a WebSocket, and send a key like this
MAX_ADDRESSES = 10_000  # with stored rates


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


class Client(BaseModel, extra="forbid"):
    """The sender of a request, an entry of the file. `key` is the SHA-256 of the key."""

    name: str
    key: str = Field(min_length=16)
    adapters: list[str] = []
    manage: list[str] = []
    start: str | None = None
    admin: bool = False
    _left: float | None = None  # requests that it might send at once …
    _since: float = 0.0  # … at this time

    @field_validator("key")
    @classmethod
    def hash_key(cls, key: str) -> str:
        if not key.lower().startswith(HASHED):
            return hash_of(key)
        if not re.fullmatch("[0-9a-f]{64}", hashed := key[len(HASHED) :].lower()):
            raise ValueError(f"{HASHED} needs the 64 hex digits of a SHA-256")
        return hashed

    def may_use(self, adapter: str) -> bool:
        return self.may_access(adapter, [*self.adapters, *self.manage])

    def may_manage(self, adapter: str) -> bool:
        return self.may_access(adapter, self.manage)

    def may_access(self, adapter: str, patterns: Sequence[str]) -> bool:
        """Whether a pattern matches the name (of NAME@1 also NAME), and no other key owns the voice."""
        adapter = unicodedata.normalize("NFC", adapter)  # as in the registry
        names = {adapter, VERSION.sub("", adapter)}
        patterns = [unicodedata.normalize("NFC", pattern) for pattern in patterns]
        if not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return False
        if self.name == NOBODY:
            return True
        try:
            owner = voice_record(adapter).get("owner")
        except UserError:  # a damaged record: the owner is unknown
            return False
        return owner in (None, self.name, self.key)

    def count_request(self, rate: float) -> None:
        """Count a request towards `rate` per minute, a bucket that fills steadily. Raises ApiError 429."""
        now, capacity = time.monotonic(), max(1.0, rate)
        filled = capacity if self._left is None else self._left + (now - self._since) * rate / 60
        self._left, self._since = min(capacity, filled), now
        if self._left < 1:
            message, wait = f"Rate limit reached: {rate:g} requests per minute.", 60 * (1 - self._left) / rate
            raise ApiError(429, message, "rate_limit_exceeded", retry_after=wait)
        self._left -= 1


ANONYMOUS = Client(name=NOBODY, key=16 * "-", manage=["*"])  # the client of a server without keys


class Access:
    """The keys of a file; None: everybody may do everything. Raises UserError for a damaged file; a file that
    is damaged while the server runs is ignored."""

    def __init__(self, file: Path | None, rate: float):
        self.file, self.rate, self.modified = file, rate, 0
        self.clients: dict[str, Client] = {}  # by the hash of the key, or by address
        if file is not None:
            self.modified, self.clients = file.stat().st_mtime_ns, read_keys(file)

    def client(self, headers: Mapping[str, str], address: str) -> Client:
        """The sender of a request; counts the request. Raises ApiError 401 or 429."""
        if self.file is None:
            if len(self.clients) > MAX_ADDRESSES:
                self.clients.clear()
            client = self.clients.setdefault(address, ANONYMOUS.model_copy())
        elif not (key := key_in(headers)):
            raise ApiError(401, "You didn't provide an API key (Authorization: Bearer YOUR_KEY).")
        else:
            client = self.find(hash_of(key), "Incorrect API key provided.")
        if self.rate:
            client.count_request(self.rate)
        return client

    def renew(self, client: Client) -> Client:
        """The client with its current rights. Raises ApiError 401 if its key was revoked."""
        return client if self.file is None else self.find(client.key, "This API key is no longer valid.")

    def find(self, hashed: str, message: str) -> Client:
        """The client of a key; reads the file again if it has changed. Raises ApiError 401."""
        try:
            if (modified := self.file.stat().st_mtime_ns) != self.modified:
                self.modified, self.clients = modified, read_keys(self.file)
                logger.info("%s: read again, %d keys", self.file, len(self.clients))
        except (OSError, UserError) as error:
            logger.error("the keys stay as they were: %s", error)
        if hashed not in self.clients:
            raise ApiError(401, message, "invalid_api_key")
        return self.clients[hashed]


def key_in(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    protocols = (protocol.strip() for protocol in headers.get("sec-websocket-protocol", "").split(","))
    return next((p.removeprefix(PROTOCOL) for p in protocols if p.startswith(PROTOCOL)), None)


def read_keys(file: Path) -> dict[str, Client]:
    """SHA-256 of each key → its client. Raises UserError without a key in its message."""
    place, fault = "", "is not a list of keys in YAML (docs/deploy.md shows an example)"
    try:
        text = file.read_text("utf-8")
        entries = TypeAdapter(list[Client]).validate_python(yaml.safe_load(text))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except ValidationError as error:
        if location := error.errors()[0]["loc"]:
            place, fault = f"{yaml_line(text, *location)}:", invalid(error).message.removeprefix(": ")
        raise UserError(f"{file}:{place} {fault}") from None
    except (ValueError, yaml.YAMLError) as error:  # the message may contain a key
        if mark := getattr(error, "problem_mark", None):
            place = f"{mark.line + 1}:"
        raise UserError(f"{file}:{place} {fault}") from None
    clients: dict[str, Client] = {}
    for client in entries:
        if client.name == NOBODY:
            raise UserError(f"{file}: {NOBODY} is the name of clients without a key (give the key another)")
        if client.key in clients:
            raise UserError(f"{file}: {client.name} and {clients[client.key].name} have the same key")
        clients[client.key] = client
    return clients


def yaml_line(text: str, number: int, field: str = "", *_: Any) -> int:
    """The line of a field in an entry of a list in YAML; the line of the entry if it lacks the field."""
    entry = yaml.compose(text).value[number]
    pairs = entry.value if isinstance(entry, yaml.MappingNode) else []
    return next((key for key, _ in pairs if key.value == field), entry).start_mark.line + 1
