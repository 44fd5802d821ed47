"""ia3_speech adapts frozen speech recognisers, CTC models and Whisper, by training IA³ vectors.

    from ia3_speech import load, load_adapter, load_base

The names below are imported from their modules on first use, so that `import ia3_speech` does not load torch.
"""

import importlib
from typing import Any

__version__ = "0.3.0"

# Public name → its module.
_PUBLIC = {
    "load": "session",
    "LoadOptions": "decoding.options",
    "SearchOptions": "decoding.search",
    "Transcriber": "decoding.transcription",
    "Transcript": "decoding.transcript",
    "TranscriptSegment": "decoding.transcript",
    "Word": "decoding.transcript",
    "load_base": "model.base",
    "Base": "model.base",
    "attach": "model.attach",
    "detach": "model.attach",
    "IA3Config": "model.architectures",
    "load_adapter": "adapters.load",
    "save_adapter": "adapters.io",
    "AdapterCallback": "adapters.trainer_callback",
    "Bank": "adapters.bank",
    "merge": "adapters.merge",
    "unmerge": "adapters.merge",
    "Recognizer": "decoding.recognizer",
}
_ERRORS = (
    "UserError", "DataError", "AudioError", "TooLong", "TextError", "BaseError", "AdapterError",
    "UnknownAdapter", "BadName", "NameTaken", "HubError", "SearchError", "TrainingError", "StoreLocked",
)  # fmt: skip
_PUBLIC |= dict.fromkeys(_ERRORS, "common.errors")
__all__ = ["__version__", *_PUBLIC]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
