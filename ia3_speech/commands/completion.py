"""Print a script that completes commands, flags, their choices and the names of adapters at TAB.

    source <(ia3-speech completion bash)          a line for ~/.bashrc; with zsh for ~/.zshrc, behind compinit
    ia3-speech completion fish > ~/.config/fish/completions/ia3-speech.fish

The script is static: no Python starts at TAB. Print it again after an update.
"""

from argparse import SUPPRESS
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

# Command, or `command sub-command` → its flags → their choices; None for a flag without a value.
Flags = dict[str, dict[str, list[str] | None]]
Words = dict[str, list[str]]  # command → words that may follow, without flags; "" → all commands


def main(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print a script that completes `ia3-speech` in a shell.

    Args:
        shell: the shell that will read the script
    """
    flags: Flags = {}
    words: Words = {"": [*COMMANDS]}
    for name in COMMANDS:
        function = load_command(name)
        if is_group := isinstance(function, dict):
            words[name] = [*function]
        for sub, run in (function if is_group else {"": function}).items():
            path, parser = f"{name} {sub}".strip(), Parser()
            parser.add(run)
            shown = [action for action in parser._actions if action.help != SUPPRESS]
            positional = [action.choices or () for action in shown if not action.option_strings]
            words.setdefault(path, []).extend(word for choices in positional for word in choices)
            flags[path] = {
                action.option_strings[-1]: None if action.nargs == 0 else [*(action.choices or ())]
                for action in shown
                if action.option_strings
            } | ({} if is_group else {"--config": []})
    print(fish_script(flags, words) if shell == "fish" else bash_script(flags, words, shell == "zsh"))


def bash_script(flags: Flags, words: Words, zsh: bool) -> str:
    words = words | {f"{path} -": [*table] for path, table in flags.items()}
    values = {f"{path} {flag}": v for path, table in flags.items() for flag, v in table.items() if v}
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


def fish_script(flags: Flags, words: Words) -> str:
    home, lines = quote(str(registry.home())), []
    adapters = f"(set -q IA3_SPEECH_HOME; and echo $IA3_SPEECH_HOME; or echo {home})/adapters"
    adapters = f"(ls {adapters} 2>/dev/null | env {PLAIN})"
    for path, following in words.items():
        for word in following:
            help = "" if path else f" -d {quote(COMMANDS[word])}"
            lines.append(f"-f -n '__ia3_speech_is {path}' -a {word}{help}")
    for path, table in flags.items():
        for flag, choices in table.items():
            value = adapters if flag in ADAPTER_FLAGS else " ".join(choices or [])
            value = f" -x -a {quote(value)}" if value else "" if choices is None else " -r"
            lines.append(f"-n '__ia3_speech_in {path}' -l {flag[2:]}{value}")
    return FISH + "\n".join(f"complete -c ia3-speech {line}" for line in lines)
