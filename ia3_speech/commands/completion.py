"""Print a script that completes commands, flags, choices and files at TAB; bash also completes adapters.

    source <(ia3-speech completion bash)                    a line for ~/.bashrc
    eval "$(ia3-speech completion zsh)"                     a line for ~/.zshrc, behind compinit
    ia3-speech completion fish >~/.config/fish/completions/ia3-speech.fish

The script is static: no Python starts at TAB. Print it again after an update.
"""

from shlex import quote
from typing import Literal

import shtab

from ia3_speech.adapters import registry
from ia3_speech.commands import COMMANDS, load_command
from ia3_speech.common.cli import Parser

ADAPTERS = """_ia3_speech_adapters() {{  # grep: compgen would run `$(…)` in a name
  local home={home}
  compgen -W "$(ls "${{IA3_SPEECH_HOME:-$home}}/adapters" | LC_ALL=C grep -v '[^A-Za-z0-9._@-]')" -- "$1"
  compgen -d -- "$1"
}}"""


def main(shell: Literal["bash", "zsh", "fish", "tcsh"]) -> None:
    """Print a script that completes `ia3-speech` in a shell.

    Args:
        shell: the shell that will read the script
    """
    names = {"bash": ADAPTERS.format(home=quote(str(registry.home())))}
    adapters = shtab.FILE | {"bash": "_ia3_speech_adapters", "preamble": names}
    parser = Parser(prog="ia3-speech")
    commands = parser.add_subparsers()
    for name, description in COMMANDS.items():
        function, command = load_command(name), commands.add_parser(name, help=description)
        parsers = {command: function}
        if isinstance(function, dict):
            group = command.add_subparsers()
            parsers = {group.add_parser(sub, help=""): run for sub, run in function.items()}
        else:
            command.add_argument("--config", metavar="FILE")
        for each, run in parsers.items():
            each.add(run)
            for action in each._actions:
                if action.nargs != 0 and not action.choices:
                    action.complete = adapters if action.dest in ("adapter", "init_adapter") else shtab.FILE
    print(shtab.complete(parser, shell))
