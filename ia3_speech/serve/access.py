"""API keys: who may use and change which adapters, and how often.

    - name: clinic                      stands in the log
      key: sk-3f9c…                     or its hash: sha256:9b74…
      adapters: [medical, "dr-*"]       names, or patterns of them; the base is everybody's
      manage: true                      may store and remove adapters of these names

In: a YAML file, which is read again when it changes; the headers of a request. Out: a `Client`, or an error.
An adapter that a key may not use is one that is not there: no list, no error and no time tells its name.
"""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from ia3_speech.cli import UserError
from ia3_speech.serve.errors import ApiError

logger = logging.getLogger(__name__)

FIELDS = {"name": str, "key": str, "adapters": list, "manage": bool}
HASHED = "sha256:"
PROTOCOL = "openai-insecure-api-key."  # by which browsers, which can't set headers, send a key to a WebSocket
MOST_ADDRESSES = 10_000  # whose rates are remembered


@dataclass
class Client:
    """Who sends a request.

    Attributes:
        name: in the log.
        adapters: patterns of the names that it may use.
        manage: whether it may store and remove adapters of these names.
        left, since: requests that it may send at once, as of then; see `take`.
    """

    name: str
    adapters: Sequence[str] = ("*",)
    manage: bool = True
    left: float | None = None
    since: float = field(default_factory=time.monotonic)

    def may_use(self, adapter: str) -> bool:
        return any(fnmatchcase(adapter, pattern) for pattern in self.adapters)

    def take(self, rate: float) -> None:
        """Count a request, of `rate` a minute: a bucket of a minute's, filled steadily. Raises ApiError."""
        now, most = time.monotonic(), max(1.0, rate)
        left = most if self.left is None else min(most, self.left + (now - self.since) * rate / 60)
        self.left, self.since = left, now
        if left < 1:
            message = f"Rate limit reached: {rate:g} requests per minute."
            raise ApiError(429, message, code="rate_limit_exceeded", retry_after=60 * (1 - left) / rate)
        self.left -= 1


class Access:
    """The keys of a file, or nobody's in particular.

    Raises:
        UserError: the file is not one of keys. One that becomes so while the server runs is not taken over.
    """

    def __init__(self, file: Path | None, rate: float):
        self.file, self.rate = file, rate
        self.modified = 0
        self.clients: dict[str, Client] = {}  # by the hash of the key, or by address
        if file is not None:
            self.modified, self.clients = file.stat().st_mtime_ns, read_keys(file)

    def client(self, headers: Mapping[str, str], address: str) -> Client:
        """Who sends a request with these headers, counted. Raises ApiError 401 or 429."""
        if self.file is None:
            if len(self.clients) > MOST_ADDRESSES:
                self.clients.clear()
            client = self.clients.setdefault(address, Client("-"))
        else:
            client = self.client_of_key(key_in(headers))
        if self.rate:
            client.take(self.rate)
        return client

    def client_of_key(self, key: str | None) -> Client:
        self.read_again()
        if not key:
            raise ApiError(401, "You didn't provide an API key. Send it as: Authorization: Bearer YOUR_KEY")
        client = self.clients.get(digest(key))
        if client is None:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        return client

    def read_again(self) -> None:
        """Take over the file if it has changed and is right."""
        try:
            modified = self.file.stat().st_mtime_ns
            if modified == self.modified:
                return
            self.modified = modified
            self.clients = read_keys(self.file)
            logger.info("%s: read again, %d keys", self.file, len(self.clients))
        except (OSError, UserError) as error:
            logger.error("the keys stay as they were: %s", error)


def key_in(headers: Mapping[str, str]) -> str | None:
    """The key of a request: in Authorization, or among a WebSocket's protocols."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    protocols = (one.strip() for one in headers.get("sec-websocket-protocol", "").split(","))
    return next((one.removeprefix(PROTOCOL) for one in protocols if one.startswith(PROTOCOL)), None)


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(file: Path) -> dict[str, Client]:
    """SHA-256 of each key → its client. Raises UserError."""
    try:
        entries = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{file}: is not a list of keys (docs/serve.md shows one)")
    clients: dict[str, Client] = {}
    for number, entry in enumerate(entries, 1):
        fault = fault_of(entry)
        if fault:
            raise UserError(f"{file}: key {number}: {fault}")
        key = entry["key"]
        hashed = key.removeprefix(HASHED).lower() if key.startswith(HASHED) else digest(key)
        if hashed in clients:
            raise UserError(f"{file}: key {number}: is that of {clients[hashed].name} too")
        adapters = [str(pattern) for pattern in entry.get("adapters", [])]
        clients[hashed] = Client(entry["name"], adapters, entry.get("manage", False))
    return clients


def fault_of(entry: Any) -> str | None:
    if not isinstance(entry, dict) or not {"name", "key"} <= entry.keys():
        return "has no name, or no key"
    for field_name, value in entry.items():
        if field_name not in FIELDS:
            return f"{field_name!r} is none of {', '.join(FIELDS)}"
        if not isinstance(value, FIELDS[field_name]):
            return f"{field_name} is no {FIELDS[field_name].__name__}"
    if len(entry["key"]) < 16:
        return "the key has fewer than 16 characters (openssl rand -hex 24 makes one)"
    return None
