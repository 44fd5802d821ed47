"""API keys: who may use and change which adapters, and how often.

    - name: clinic                      stands in the log
      key: sk-3f9c…                     or its hash: sha256:9b74…
      adapters: [medical]               may use: names, or patterns of them; the base is everybody's
      manage: ["dr-*"]                  may use, make, replace and remove: adapters and voices of these names
      admin: true                       may list the names of all voices, and delete each

In: a YAML file, which is read again when it changes; the headers of a request. Out: a `Client`, or an error.
An adapter that a key may not use is one that is not there: no list, no error and no time tells its name.
A voice that was made on the page belongs to the name of its key, whatever the patterns of others: a new key
under the same name goes on with it.
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

from ia3_speech.adapters.registry import KEPT
from ia3_speech.corrections.store import NOBODY, voice_record
from ia3_speech.errors import UserError
from ia3_speech.serve.errors import ApiError, invalid

logger = logging.getLogger(__name__)

NO_KEYS = "is not a list of keys in YAML (docs/serve.md shows one)"

HASHED = "sha256:"
PROTOCOL = "openai-insecure-api-key."  # by which browsers, which can't set headers, send a key to a WebSocket
MOST_ADDRESSES = 10_000  # whose rates are remembered


class Client(BaseModel, extra="forbid"):
    """Who sends requests, as in the file."""

    name: str
    key: str = Field(min_length=16)
    adapters: list[str] = []
    manage: list[str] = []
    admin: bool = False
    _left: float | None = None  # requests that it may send at once, as of …
    _since: float = 0.0

    @property
    def hashed(self) -> str:
        """SHA-256 of the key."""
        is_hashed = self.key.lower().startswith(HASHED)
        return self.key[len(HASHED) :].lower() if is_hashed else hash_of(self.key)

    @field_validator("manage", mode="before")
    @classmethod
    def refuse_flag(cls, manage: Any) -> Any:
        """`manage: true` meant all of `adapters`, so that who used a shared adapter could delete it."""
        if isinstance(manage, bool):
            raise ValueError('list the names that the key may change, such as manage: [dr-01, "dr-01-*"]')
        return manage

    def may_use(self, adapter: str) -> bool:
        return self.may_access(adapter, [*self.adapters, *self.manage])

    def may_manage(self, adapter: str) -> bool:
        return self.may_access(adapter, self.manage)

    def may_access(self, adapter: str, patterns: Sequence[str]) -> bool:
        """Whether one of the patterns allows the name, or, for an earlier version NAME@1, NAME; and it is no
        voice of another key."""
        adapter = unicodedata.normalize("NFC", adapter)  # as the registry has it
        names = {adapter, KEPT.sub("", adapter)}
        patterns = [unicodedata.normalize("NFC", pattern) for pattern in patterns]
        if not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            return False
        if self.name == NOBODY:
            return True
        try:
            owner = voice_record(adapter).get("owner")
        except UserError:  # a damaged record: nobody knows whose it is
            return False
        return owner in (None, self.name, self.hashed)

    def take(self, rate: float) -> None:
        """Count a request, of `rate` a minute: a bucket of a minute's, filled steadily. Raises ApiError."""
        now, most = time.monotonic(), max(1.0, rate)
        filled = most if self._left is None else self._left + (now - self._since) * rate / 60
        self._left, self._since = min(most, filled), now
        if self._left < 1:
            message, wait = f"Rate limit reached: {rate:g} requests per minute.", 60 * (1 - self._left) / rate
            raise ApiError(429, message, "rate_limit_exceeded", retry_after=wait)
        self._left -= 1


ANYBODY = Client(name=NOBODY, key=16 * "-", manage=["*"])  # where there are no keys


class Access:
    """The keys of a file; None: whoever comes may do everything. Raises UserError where the file is not one
    of keys; one that becomes so while the server runs is not taken over."""

    def __init__(self, file: Path | None, rate: float):
        self.file, self.rate, self.modified = file, rate, 0
        self.clients: dict[str, Client] = {}  # by the hash of the key, or by address
        if file is not None:
            self.modified, self.clients = file.stat().st_mtime_ns, read_keys(file)

    def client(self, headers: Mapping[str, str], address: str) -> Client:
        """Who sends a request with these headers, counted. Raises ApiError 401 or 429."""
        if self.file is None:
            if len(self.clients) > MOST_ADDRESSES:
                self.clients.clear()
            client = self.clients.setdefault(address, ANYBODY.model_copy())
        else:
            self.read_again()
            if not (key := key_in(headers)):
                raise ApiError(401, "You didn't provide an API key (Authorization: Bearer YOUR_KEY).")
            if not (client := self.clients.get(hash_of(key))):
                raise ApiError(401, "Incorrect API key provided.", "invalid_api_key")
        if self.rate:
            client.take(self.rate)
        return client

    def renew(self, client: Client) -> Client:
        """The client as the file has it now. Raises ApiError 401 where its key is not there any more."""
        if self.file is None:
            return client
        self.read_again()
        if not (now := self.clients.get(client.hashed)):
            raise ApiError(401, "This API key is no longer valid.", "invalid_api_key")
        return now

    def read_again(self) -> None:
        """Take over the file if it has changed and is right."""
        try:
            if (modified := self.file.stat().st_mtime_ns) != self.modified:
                self.modified, self.clients = modified, read_keys(self.file)
                logger.info("%s: read again, %d keys", self.file, len(self.clients))
        except (OSError, UserError) as error:
            logger.error("the keys stay as they were: %s", error)


def key_in(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    protocols = (one.strip() for one in headers.get("sec-websocket-protocol", "").split(","))
    return next((one.removeprefix(PROTOCOL) for one in protocols if one.startswith(PROTOCOL)), None)


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(file: Path) -> dict[str, Client]:
    """SHA-256 of each key → its client. Raises UserError, which holds no key."""
    try:
        text = file.read_text("utf-8")
        clients = TypeAdapter(list[Client]).validate_python(yaml.safe_load(text))
    except ValidationError as error:
        if not (place := error.errors()[0]["loc"]):
            raise UserError(f"{file}: {NO_KEYS}") from None
        raise UserError(
            f"{file}:{yaml_line(text, *place)}: {invalid(error).message.removeprefix(': ')}"
        ) from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError) as error:  # whose own words may hold a key
        mark = getattr(error, "problem_mark", None)
        raise UserError(f"{file}:{f'{mark.line + 1}:' if mark else ''} {NO_KEYS}") from None
    found: dict[str, Client] = {}
    for client in clients:
        if client.name == NOBODY:
            raise UserError(f"{file}: {NOBODY} is the name of clients without a key (give the key another)")
        if not re.fullmatch("[0-9a-f]{64}", client.hashed):
            raise UserError(f"{file}: {client.name}: {HASHED} needs the 64 hex digits of a SHA-256")
        if client.hashed in found:
            raise UserError(f"{file}: {client.name} and {found[client.hashed].name} have the same key")
        found[client.hashed] = client
    return found


def yaml_line(text: str, number: int, field: str = "", *_: Any) -> int:
    """The line of a field in an entry of a list in YAML; that of the entry where it lacks the field."""
    entry = yaml.compose(text).value[number]
    pairs = entry.value if isinstance(entry, yaml.MappingNode) else []
    return next((key for key, _ in pairs if key.value == field), entry).start_mark.line + 1
