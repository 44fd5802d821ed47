"""The options of `ia3-speech serve`, in the groups that `--help` shows; checked before anything is loaded."""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal

from ia3_speech.common.errors import UserError
from ia3_speech.decoding.options import LoadOptions

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MINIMUMS = dict.fromkeys(("port", "shutdown_seconds", "max_wait_ms", "rate", "sessions_per_key"), 0)
MINIMUMS |= dict.fromkeys(("batch_seconds", "max_adapters", "max_memory", "max_requests"), 1)
MINIMUMS |= dict.fromkeys(("max_megabytes", "max_minutes", "max_minutes_held", "upload_seconds"), 0.001)


@dataclass(frozen=True)
class ServerOptions:
    """Server

    Args:
        host: address to listen on; 0.0.0.0: all addresses of this machine
        port: port to listen on
        key_file: YAML file of API keys, each with the adapters that it may use (docs/deploy.md); it is read
            again when it changes (default: no keys: whoever reaches the port may use and change everything)
        language: ISO 639-1 code of the language that the base writes; requests for another language are
            refused (default: en for mini; with another base any language is accepted). A multilingual Whisper
            writes it where a request names none; auto: it detects the language
        dictation_rules: YAML file with your rules, names, units and commands (docs/dictation.md), for
            requests that ask for dictation
        shutdown_seconds: seconds after SIGTERM until unfinished requests are cut off
        alias: further names of models, for clients with a built-in name: whisper-1=medical, where medical may
            be the base, an adapter, a sum or auto; a key needs the right to use it
        training: let users of the page at / store recordings and make adapters (--no-training: don't)
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key_file: Path | None = None
    language: str | None = None
    dictation_rules: Path | None = None
    shutdown_seconds: int = 60
    alias: list[str] = field(default_factory=list)
    training: bool = True


@dataclass(frozen=True)
class EngineOptions:
    """Model

    Args:
        base: the pretrained recogniser of all adapters: mini, a folder or a hub id
        device: cpu, cuda, … (default: cuda where there is one)
        dtype: number format of the base's weights
        precision: no: compute in --dtype; bf16: compute the encoder's layers in bfloat16; int8: compute a
            Whisper's linear layers in int8 (on a CPU); auto: bf16 if it is faster here
        batch_seconds: seconds of padded audio in a batch; the next request waits until the batch is done. A
            CPU gains nothing from larger batches, a GPU needs several hundred seconds
        max_wait_ms: milliseconds that a batch waits for further requests: a longer wait makes fuller batches
        max_adapters: number of loaded adapters; the least recently used adapter makes room for another
        max_memory: megabytes that the parameters of the loaded adapters may take
    """

    base: str = "mini"
    device: str | None = None
    dtype: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    precision: Literal["no", "bf16", "int8", "auto"] = "no"
    batch_seconds: float = 16.0
    max_wait_ms: float = 20.0
    max_adapters: int = 1000
    max_memory: float = 1000.0

    def for_loading(self) -> dict[str, Any]:
        """The arguments of `session.load`."""
        options = LoadOptions(batch_seconds=self.batch_seconds, dtype=self.dtype)
        arguments = {name: getattr(self, name) for name in ("base", "device", "precision")}
        return arguments | {"options": options}


@dataclass(frozen=True)
class LimitOptions:
    """Limits

    Args:
        max_megabytes: megabytes of an uploaded file; a larger one is refused (413)
        max_minutes: minutes of a recording; a longer one is refused (413)
        max_requests: simultaneous transcriptions and live sessions; further requests are refused (503)
        sessions_per_key: simultaneous live sessions of one key; further ones are refused (429). 0 is a
            quarter of max_requests
        max_minutes_held: minutes of audio in all unfinished requests; a request beyond this is refused (503)
        rate: requests per minute from each key, or from each address if there are no keys; further requests
            are refused (429). 0 is no limit
        upload_seconds: seconds within which a request's body, or the next audio of a live session (for these
            at most 60), has to arrive (408)
        upload_adapters: let clients store and remove adapters over HTTP (--no-upload-adapters: don't)
    """

    max_megabytes: float = 100.0
    max_minutes: float = 120.0
    max_requests: int = 64
    sessions_per_key: int = 0
    max_minutes_held: float = 240.0
    rate: float = 0.0
    upload_seconds: float = 300.0
    upload_adapters: bool = True

    @property
    def max_bytes(self) -> int:
        return round(self.max_megabytes * 2**20)


def check(server: ServerOptions, *others: EngineOptions | LimitOptions) -> None:
    """Raises UserError for a value out of range, or a file that is missing."""
    for name, value in [item for options in (server, *others) for item in vars(options).items()]:
        if name in MINIMUMS and not MINIMUMS[name] <= value < inf:
            raise UserError(f"`{name}` is {value:g}, and must be finite, at least {MINIMUMS[name]:g}")
    if server.port > 65_535:
        raise UserError(f"`port` is {server.port}, and can't be more than 65535")
    for alias in server.alias:
        if not all(alias.partition("=")):
            raise UserError(f"`alias={alias}`: is not NAME=MODEL, such as whisper-1=medical")
    if server.key_file is not None and not server.key_file.is_file():
        raise UserError(f"`key_file={server.key_file}`: no such file")
