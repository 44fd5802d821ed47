"""Completion: a script that completes commands, flags, their choices and the names of adapters at TAB.

    source <(ia3-speech completion bash)          a line for ~/.bashrc; with zsh for ~/.zshrc, behind compinit
    ia3-speech completion fish > ~/.config/fish/completions/ia3-speech.fish

The script is static: no Python starts at TAB. Print it again after an update.
"""

from argparse import SUPPRESS
from collections.abc import Callable
from shlex import quote
from typing import Literal

from ia3_speech.adapters import registry
from ia3_speech.cli import Parser
from ia3_speech.commands import COMMANDS, load_command

ADAPTER_FLAGS = ("--adapter", "--init-adapter")
PLAIN = "LC_ALL=C grep -v '[^A-Za-z0-9._@-]'"  # compgen would run `$(…)` in the name of an adapter
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
BASH = """\
_ia3_speech() {{
    local typed=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD-1]}} path= choices= home={home}
    [ "$typed" = "=" ] && typed=
    [ "$flag" = "=" ] && flag=${{COMP_WORDS[COMP_CWORD-2]}}
    [ "$COMP_CWORD" -gt 1 ] && path=${{COMP_WORDS[1]}}
    [ "$COMP_CWORD" -gt 2 ] && case "$path" in {groups}) path="$path ${{COMP_WORDS[2]}}" ;; esac
    case "$path $flag" in
{values}
    *{adapter_flags}) choices=$(ls "${{IA3_SPEECH_HOME:-$home}}/adapters" 2>/dev/null | {plain}) ;;
    *)
        case "$typed" in -*) path="$path -" ;; esac
        case "$path" in
{words}
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$choices" -- "$typed"))
}}
complete -o default -F _ia3_speech ia3-speech"""
FISH = """\
function __ia3_speech_is # whether the words so far are these alone
    set -l words (commandline -opc)
    test "$words[2..]" = "$argv"
end
function __ia3_speech_in # whether they begin with these
    set -l words (commandline -opc)
    test "$words[2..$(math (count $argv) + 1)]" = "$argv"
end
"""

# Command, or `command sub-command` → its flags → their choices (None for a flag without a value); the flag ""
# stands for words without a flag.
Flags = dict[str, dict[str, list[str] | None]]


def main(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print a script that completes `ia3-speech` in a shell.

    Args:
        shell: which one
    """
    flags: Flags = {}
    for name in COMMANDS:
        function = load_command(name)
        if isinstance(function, dict):
            flags |= {f"{name} {sub}": flags_of(each) for sub, each in function.items()}
        else:
            flags[name] = flags_of(function) | {"--config": []}
    print(fish_script(flags) if shell == "fish" else bash_script(flags, shell == "zsh"))


def flags_of(function: Callable) -> dict[str, list[str] | None]:
    """The flags of a command → their choices."""
    parser = Parser()
    parser.add(function)
    shown = [action for action in parser._actions if action.help != SUPPRESS]
    return {
        next((flag for flag in action.option_strings if flag.startswith("--")), ""): None
        if action.nargs == 0
        else [*(action.choices or ())]
        for action in shown
    }


def words_after(flags: Flags) -> dict[str, list[str]]:
    """What may follow a command without a flag: its sub-commands or choices; behind "" all commands."""
    words: dict[str, list[str]] = {"": [*dict.fromkeys(path.partition(" ")[0] for path in flags)]}
    for path, table in flags.items():
        name, _, sub = path.partition(" ")
        words.setdefault(name, []).extend([sub] if sub else [])
        words[path] = [*words.get(path, []), *(table.get("") or [])]
    return words


def bash_script(flags: Flags, zsh: bool) -> str:
    words = words_after(flags) | {
        f"{path} -": [flag for flag in table if flag] for path, table in flags.items()
    }
    values = {f"{path} {f}": v for path, table in flags.items() for f, v in table.items() if f and v}
    groups = {path.partition(" ")[0] for path in flags if " " in path}
    cases = [
        "\n".join(f"{indent}{quote(key)}) choices={quote(' '.join(v))} ;;" for key, v in table.items() if v)
        for indent, table in ((4 * " ", values), (8 * " ", words))
    ]
    return (ZSH if zsh else "") + BASH.format(
        home=quote(str(registry.home())),
        groups=" | ".join(sorted(groups)),
        plain=PLAIN,
        adapter_flags=" | *".join(f"' {flag}'" for flag in ADAPTER_FLAGS),
        values=cases[0],
        words=cases[1],
    )


def fish_script(flags: Flags) -> str:
    home, lines = quote(str(registry.home())), []
    adapters = f"(set -q IA3_SPEECH_HOME; and echo $IA3_SPEECH_HOME; or echo {home})/adapters"
    adapters = f"(ls {adapters} 2>/dev/null | env {PLAIN})"
    for path, words in words_after(flags).items():
        for word in words:
            help = f" -d {quote(COMMANDS[word])}" if not path else ""
            lines.append(f"-f -n '__ia3_speech_is {path}' -a {word}{help}")
    for path, table in flags.items():
        for flag, choices in table.items():
            value = adapters if flag in ADAPTER_FLAGS else " ".join(choices or [])
            value = f" -x -a {quote(value)}" if value else "" if choices is None else " -r"
            lines += [f"-n '__ia3_speech_in {path}' -l {flag[2:]}{value}"] if flag else []
    return FISH + "\n".join(f"complete -c ia3-speech {line}" for line in lines)


COMMAND = main
