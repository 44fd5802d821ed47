"""The command `ia3-speech`, also `python -m ia3_speech`: one sub-command for each command of the package.

    ia3-speech transcribe --adapter speaker42 audio.wav

is the same as `python -m ia3_speech.transcribe --adapter speaker42 audio.wav`.
"""

import difflib
import sys
from contextlib import suppress

from ia3_speech import __version__
from ia3_speech.commands import COMMANDS, run
from ia3_speech.common.cli import open_streams


def main(argv: list[str] | None = None) -> None:
    """Run the command that the first word names, or print the overview."""
    words = sys.argv[1:] if argv is None else argv
    name = words[0] if words else "--help"
    open_streams()
    if name in ("-h", "--help"):
        with suppress(OSError):  # the reader of `… | head` has closed the pipe
            print(overview(), flush=True)
    elif name == "--version":
        print(f"ia3-speech {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"ia3-speech {name}", *words[1:]]  # for the usage line
        run(name)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"do you mean {near[0]}?" if near else "ia3-speech --help lists them"
        print(f"error: there is no command {name} ({hint})", file=sys.stderr)
        sys.exit(2)


def overview() -> str:
    """A line for each command, and an example."""
    commands = "\n".join(f"  {name:<12}{description}" for name, description in COMMANDS.items())
    return f"""usage: ia3-speech COMMAND …

Adapt frozen speech recognisers, CTC models and Whisper, by training IA³ vectors.

{commands}

  --version   print the version
  --help      print this overview; ia3-speech COMMAND --help explains a command

example: ia3-speech transcribe --adapter speaker42 audio.wav"""


if __name__ == "__main__":
    main()
