"""The commands: each module has a command's options, a call of the library, and the output.

    ia3-speech transcribe --adapter speaker42 audio.wav
    python -m ia3_speech.transcribe --adapter speaker42 audio.wav        the same

`cli.command` calls `main` of a module, or a function of its `SUB_COMMANDS`.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import NoReturn

from ia3_speech.common.cli import command

COMMANDS = {
    "transcribe": "transcribe audio files, with or without an adapter",
    "serve": "serve OpenAI's audio API for one base and all registered adapters",
    "live": "transcribe a microphone or a pipe while it is spoken",
    "dictation": "write the punctuation, doses and blood pressures of a dictated text",
    "train": "train IA³ vectors on a data directory",
    "self-train": "train IA³ vectors on recordings without transcripts",
    "decode": "decode a data directory, with or without an adapter",
    "lm": "estimate an n-gram language model from texts",
    "tune-lm": "choose the weights of a language model on a dev set",
    "calibrate": "calibrate word confidences on a dev set",
    "hotwords": "collect the forms in which terms are recognised, check a hot-word file",
    "score": "score hypotheses: WER, CER and term errors, compared with a baseline",
    "results": "collect, compare and show the results below an experiment folder",
    "adapters": "list, show, register, combine, export, push and pull adapters",
    "export": "export a base as an ONNX graph with every vector as an input, or with an adapter merged",
    "corrections": "store corrected texts of recordings, and improve an adapter with them",
    "voices": "list, show, export and delete the stored voices of people",
    "datadir": "check, repair, cut and divide Kaldi data directories",
    "speakers": "train an adapter for each speaker of a data directory",
    "report": "write an HTML page on a scored decode directory",
    "completion": "print a script that completes commands and flags in bash, zsh, fish or tcsh",
}


def load_command(name: str) -> Callable | dict[str, Callable]:
    """The function of a command, or its sub-commands."""
    module = import_module(f"ia3_speech.commands.{name.replace('-', '_')}")
    return getattr(module, "SUB_COMMANDS", None) or module.main


def run(name: str, words: list[str] | None = None) -> NoReturn:
    """Run a command on a command line, by default the process's, and exit."""
    try:
        function = load_command(name)
    except KeyboardInterrupt:  # from here on `command` handles it
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    command(function, words)
