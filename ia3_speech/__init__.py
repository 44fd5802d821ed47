"""ia3_speech adapts pretrained CTC speech recognisers by training nothing but IA³ vectors."""

import importlib
import os
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

# Public name → its module. Loaded on first use, so that `import ia3_speech` costs nothing.
_PUBLIC = {
    "load_base": "model.base",
    "Base": "model.base",
    "attach": "model.ia3",
    "detach": "model.ia3",
    "IA3Config": "model.ia3",
    "load_adapter": "adapters.io",
    "save_adapter": "adapters.io",
    "Bank": "adapters.bank",
    "merge": "adapters.merge",
    "unmerge": "adapters.merge",
    "transcribe": "decoding.transcription",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


class _Package(ModuleType):
    """The import of a module sets it as an attribute of its package: `transcribe` the module would hide
    `transcribe` the function from the second `from ia3_speech import transcribe` on. Here it can't."""

    @property
    def transcribe(self) -> Any:
        return __getattr__("transcribe")

    @transcribe.setter
    def transcribe(self, module: ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package


def _quiet_interrupt(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    """`sys.excepthook`: Ctrl-C while a command's modules are imported prints one line, as it does later."""
    if not issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, traceback)
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)


# Only where Python is about to run one of our modules (`python -m ia3_speech.train`): argv[0] is still "-m".
if sys.argv[:1] == ["-m"] and "-m ia3_speech" in " ".join(sys.orig_argv):
    sys.excepthook = _quiet_interrupt
