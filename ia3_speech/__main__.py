"""The command `ia3-speech`, also `python -m ia3_speech`: one sub-command for each command of the package.

    ia3-speech transcribe --adapter speaker42 audio.wav

is the same as `python -m ia3_speech.transcribe --adapter speaker42 audio.wav`.
"""

import difflib
import runpy
import sys
from contextlib import suppress

from ia3_speech import __version__
from ia3_speech.cli import open_streams

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
    "classify": "classify audio files with a classifier's adapter: keywords, intents",
    "calibrate": "calibrate word confidences on a dev set",
    "hotwords": "learn in which forms terms are recognised, check a file of terms",
    "score": "score hypotheses: WER, CER and term errors, compared with a baseline",
    "adapters": "list, show, register, combine, export, push and pull adapters",
    "export": "export a base as an ONNX graph with every vector as an input, or with an adapter merged",
    "corrections": "store corrected texts of recordings, and improve an adapter with them",
    "voices": "list the stored voices, delete all that is stored of one",
    "datadir": "check, repair, cut and divide Kaldi data directories",
    "speakers": "train an adapter for each speaker of a data directory",
    "report": "write an HTML page on a scored decode directory",
    "completion": "print a script that completes commands and flags in bash, zsh or fish",
}


def main(argv: list[str] | None = None) -> None:
    """Run the command that the first word names, or print the overview."""
    words = sys.argv[1:] if argv is None else argv
    name = words[0] if words else "--help"
    open_streams()
    if name in ("-h", "--help"):
        with suppress(OSError):  # the reader of `… | head` has left
            print(overview(), flush=True)
    elif name == "--version":
        print(f"ia3-speech {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"ia3-speech {name}", *words[1:]]  # the usage line names the command so
        try:
            runpy.run_module(f"ia3_speech.{name.replace('-', '_')}", run_name="__main__")
        except KeyboardInterrupt:  # while it is imported; afterwards `command` says so
            print("interrupted", file=sys.stderr)
            sys.exit(130)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"do you mean {near[0]}?" if near else "ia3-speech --help lists them"
        print(f"error: there is no command {name} ({hint})", file=sys.stderr)
        sys.exit(2)


def overview() -> str:
    """One line for each command, and an example."""
    commands = "\n".join(f"  {name:<12}{description}" for name, description in COMMANDS.items())
    return f"""usage: ia3-speech COMMAND …

Adapt pretrained CTC speech recognisers by training nothing but IA³ vectors.

{commands}

  --version   print the version
  --help      print this overview; ia3-speech COMMAND --help explains a command

example: ia3-speech transcribe --adapter speaker42 audio.wav"""


if __name__ == "__main__":
    main()
