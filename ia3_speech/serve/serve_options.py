"""The options of `ia3-speech serve`, in the groups that `--help` shows.

In: a command line. Out: dataclasses, checked before anything is loaded.
"""

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

from ia3_speech.cli import UserError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def require(options: Any, **least: float) -> None:
    """Raises UserError for a field that is too small, or infinite."""
    for name, number in least.items():
        if not number <= (value := getattr(options, name)) < inf:
            raise UserError(f"--{name.replace('_', '-')} is {value:g}, not a number from {number:g} on")


@dataclass(frozen=True)
class ServerOptions:
    """Server

    Args:
        host: address to listen on; 0.0.0.0 is every one of this machine
        port: to listen on
        key_file: YAML file of API keys, each with the adapters that it may use (docs/serve.md); it is read
            again when it changes (default: whoever reaches the port may use and change everything)
        language: ISO 639-1 code of what the base writes, with which a request's language is compared
            (default: en for mini; for another base any is accepted)
        shutdown_seconds: after SIGTERM, until requests that have been taken are cut off
        training: on the page at / people may store recordings and make adapters (--no-training: they may not)
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key_file: Path | None = None
    language: str | None = None
    shutdown_seconds: int = 60
    training: bool = True

    def check(self) -> None:
        require(self, port=0, shutdown_seconds=0)
        if self.port > 65_535:
            raise UserError(f"--port is {self.port}, and can't be more than 65535")
        if self.key_file is not None and not self.key_file.is_file():
            raise UserError(f"--key-file {self.key_file}: no such file")


@dataclass(frozen=True)
class EngineOptions:
    """Model

    Args:
        base: the pretrained recogniser of all adapters: mini, a folder or a hub id
        device: cpu, cuda, … (default: cuda where there is one)
        dtype: number format of the base's weights
        precision: bf16: the encoder's layers compute in bfloat16; auto: where the device has instructions
            for it
        batch_seconds: seconds of padded audio in a batch, for whose end the next request waits: a processor
            gains nothing by more, a GPU wants some hundreds
        max_wait_ms: milliseconds that a batch waits to become full: more of them make fuller batches
        max_adapters: loaded adapters; the one that has not been used for longest leaves for another
        max_memory: megabytes that their parameters may take
    """

    base: str = "mini"
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    precision: Literal["no", "bf16", "auto"] = "no"
    batch_seconds: float = 16.0
    max_wait_ms: float = 20.0
    max_adapters: int = 1000
    max_memory: float = 1000.0

    def check(self) -> None:
        require(self, batch_seconds=1, max_wait_ms=0, max_adapters=1, max_memory=1)

    def for_loading(self) -> dict:
        names = ("base", "device", "dtype", "precision", "batch_seconds")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class LimitOptions:
    """Limits

    Args:
        max_megabytes: of an uploaded file; a larger one is refused (413)
        max_minutes: of a recording; a longer one is refused (413)
        max_requests: transcriptions and sessions under way; another one is refused (503)
        max_minutes_held: of audio in all requests under way; another one is refused (503)
        rate: requests a minute of each key, or of each address where there are no keys; another one is
            refused (429). 0 is no limit
        upload_seconds: until a request's body, or the next event of a live session, has to be there (408)
        upload_adapters: adapters may be stored and removed over HTTP (--no-upload-adapters: they may not)
    """

    max_megabytes: float = 100.0
    max_minutes: float = 120.0
    max_requests: int = 64
    max_minutes_held: float = 240.0
    rate: float = 0.0
    upload_seconds: float = 300.0
    upload_adapters: bool = True

    def check(self) -> None:
        require(self, max_megabytes=0.001, max_minutes=0.001, max_minutes_held=0.001, upload_seconds=0.001)
        require(self, max_requests=1, rate=0)

    @property
    def max_bytes(self) -> int:
        return round(self.max_megabytes * 2**20)
