"""The one way every command of the project starts: flags from a signature, errors without a traceback.

    def main(data: Path, out: Path, seed: int = 0): ...
    if __name__ == "__main__":
        command(main)

jsonargparse turns the signature into flags and the docstring into `--help`; a `UserError` is printed as one
`error:` line and ends the process with code 1, bad flags with code 2.
"""

import argparse
import dataclasses
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, get_type_hints

if TYPE_CHECKING:
    import jsonargparse


class UserError(Exception):
    """Something the user can put right. The message names the file, the line and the cure."""


def command(run: Callable | dict[str, Callable], argv: list[str] | None = None, **options: Any) -> None:
    """Parse the command line for `run` (a function, or a dictionary of sub-commands), call it, exit.

    A function of one dataclass gets that dataclass's fields as flags, and `--config FILE` (YAML): a flag
    overrides the file, the file the default. A function of `*files` takes any number of words,
    before, between and after its flags. `run` may return an exit code (int); None is 0. Flags take dashes
    or underscores alike; a flag of type bool stands alone (`--check-audio`) or takes true or false.
    """
    set_up_logging()
    given = sys.argv[1:] if argv is None else argv
    end = given.index("--") if "--" in given else len(given)  # what follows is no flag
    arguments = [dashes_to_underscores(word) for word in given[:end]]
    options_class = only_dataclass(run)
    arguments = spell_out(arguments, set(switches(options_class or run))) + given[end:]
    try:
        if options_class:
            code = run(parse(options_class, arguments, sys.modules[run.__module__]))
        elif words := variadic(run):
            code = call_variadic(run, words, arguments)
        else:
            code = call(run, arguments, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `… | head`: the reader has left, and that is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # no room, no permission: the user's to cure, and a traceback would not help
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(code or 0)


def call(run: Callable | dict[str, Callable], arguments: list[str], options: dict[str, Any]) -> Any:
    """Call `run`, or the sub-command that the first word names. Exits with code 2 on bad flags."""
    import jsonargparse

    first = next(iter(run.values())) if isinstance(run, dict) else run
    options = {"parser_class": partial(parser_of, sys.modules[first.__module__]), **options}
    return jsonargparse.auto_cli(run, arguments, config_help=argparse.SUPPRESS, fail_untyped=False, **options)


def only_dataclass(run: Callable | dict[str, Callable]) -> type | None:
    """The dataclass that is the one parameter of `run`, if it is such a function."""
    if isinstance(run, dict):
        return None
    hints = list(inspect.get_annotations(run, eval_str=True).items())
    taken = [hint for name, hint in hints if name != "return"]
    return taken[0] if len(taken) == 1 and dataclasses.is_dataclass(taken[0]) else None


def parse(options_class: type, arguments: list[str], module: ModuleType) -> Any:
    """An instance of the dataclass from flags and `--config`. Exits with code 2 on bad flags."""
    parser = parser_of(module, print_config="--print_%s")
    parser.add_argument("--config", action="config", help="YAML file of options; flags override it")
    parser.add_class_arguments(options_class, as_group=False)
    namespace = parser.parse_args(config_first(arguments))
    names = [field.name for field in dataclasses.fields(options_class)]
    return options_class(**{name: getattr(namespace, name) for name in names})


def config_first(arguments: list[str]) -> list[str]:
    """`--rate 2 --config FILE` → `--config FILE --rate 2`: for jsonargparse the later one counts."""
    files: list[str] = []
    flags: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--config":
            files += [argument, *[value for value in [next(rest, None)] if value is not None]]
        else:
            (files if argument.startswith("--config=") else flags).append(argument)
    return files + flags


def parser_of(module: ModuleType, **options: Any) -> "jsonargparse.ArgumentParser":
    """A parser without flags, for the command that is `module`: its docstring says what the command does."""
    spec = getattr(module, "__spec__", None)
    if spec:
        options.setdefault("prog", f"python -m {spec.name.removesuffix('.__main__')}")
    options.setdefault("description", (module.__doc__ or "").strip())
    return parser_class()(**options)


@lru_cache(maxsize=1)
def parser_class() -> type:
    """jsonargparse's parser, with a help that shows flags as people type them (`--check-audio`)."""
    import jsonargparse

    class Help(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Defaults that say something, no Python types, the docstring's line breaks as they are."""

        def __init__(self, prog: str, **options: Any):
            super().__init__(prog.replace(" [options] ", " "), **options)

        def _get_help_string(self, action: argparse.Action) -> str:
            silent = action.default in (None, False, [], {}, argparse.SUPPRESS) or not action.option_strings
            return (action.help or "") + ("" if silent else " (default: %(default)s)")

        def _format_action_invocation(self, action: argparse.Action) -> str:
            return as_typed(super()._format_action_invocation(action))

        def _format_usage(self, usage: str | None, *rest: Any) -> str:
            return as_typed(super()._format_usage(usage, *rest))

    class Parser(jsonargparse.ArgumentParser):
        def __init__(self, *positional: Any, **options: Any):
            super().__init__(*positional, **{"formatter_class": Help, "print_config": None} | options)

        def error(self, message: str, *rest: Any) -> NoReturn:
            super().error(in_words(message), *rest)

    return Parser


TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list such as [a,b]",
    "dict": 'pairs such as {"a": "b"}',
}


def in_words(message: str) -> str:
    """What jsonargparse says of a bad value, without Python's types: `--seed: 'x' is not a whole number`."""
    found = re.search(r'Parser key "([\w.]+)":(.*)(?:Got|Given) value: (.*)', message, re.DOTALL)
    if not found:
        return message
    flag = as_typed(f"--{found[1].rpartition('.')[2]}")
    if choices := re.search(r"Literal\[(.*?)\]", found[2]):
        return f"{flag}: {found[3]!r} is none of {choices[1].replace(chr(39), '')}"
    kinds = [
        TYPE_NAMES[name]
        for name in dict.fromkeys(re.findall(r"<class '(\w+)'>", found[2]))
        if name in TYPE_NAMES
    ]
    return f"{flag}: {found[3]!r} is not {' or '.join(kinds)}" if kinds else message


def as_typed(text: str) -> str:
    """`--check_audio {true,false}` → `--check-audio`."""
    text = text.replace(" {true,false}", "")
    return re.sub(r"--[\w.]+", lambda flag: flag[0].replace("_", "-"), text)


def variadic(run: Callable | dict[str, Callable]) -> str | None:
    """The name of the `*words` parameter of `run`, if it has one."""
    if isinstance(run, dict):
        return None
    parameters = inspect.signature(run).parameters.values()
    return next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), None)


def call_variadic(run: Callable, words: str, arguments: list[str]) -> Any:
    """Call `run(*words, **flags)`. Exits with code 2 on bad flags."""
    import docstring_parser

    parser = parser_of(sys.modules[run.__module__])
    said = {entry.arg_name: entry.description for entry in docstring_parser.parse(run.__doc__ or "").params}
    shown, none = words.removesuffix("s").upper(), argparse.SUPPRESS
    parser.add_argument(words, nargs="*", metavar=shown, default=none, help=said.get(words))
    names = parser.add_function_arguments(run, as_group=False)
    namespace = parser.parse_args(words_last(arguments))
    return run(*getattr(namespace, words, None) or (), **{name: getattr(namespace, name) for name in names})


def words_last(arguments: list[str]) -> list[str]:
    """`a --flag value b` → `--flag value a b`: argparse takes `*words` in one run only, and no later one.

    Every flag has a value by now (see `spell_out`), behind an equals sign or as the next word; all that
    follows a `--` is a word, even if it starts with a dash.
    """
    flags: list[str] = []
    words: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            words += rest
        elif argument.startswith("-") and argument != "-":
            flags.append(argument)
            if "=" not in argument and argument not in ("-h", "--help"):
                flags += [value for value in [next(rest, None)] if value is not None]
        else:
            words.append(argument)
    return [*flags, "--", *words] if words else flags


def dashes_to_underscores(word: str) -> str:
    """`--max-steps=5` → `--max_steps=5`: Kaldi and GNU habits both work."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def switches(run: Callable | dict[str, Callable], prefix: str = "--") -> Iterator[str]:
    """The flags of type bool of a function, a dataclass, or all sub-commands."""
    if isinstance(run, dict):
        for function in run.values():
            yield from switches(function, prefix)
        return
    parameters = inspect.signature(run).parameters
    for name, hint in get_type_hints(run.__init__ if inspect.isclass(run) else run).items():
        if hint is bool and name in parameters:
            yield prefix + name
        elif dataclasses.is_dataclass(hint) and name in parameters:
            yield from switches(hint, f"{prefix}{name}.")


def spell_out(words: list[str], flags: set[str]) -> list[str]:
    """`--check_audio` → `--check_audio=true` where no true or false follows: jsonargparse wants a value."""
    return [
        f"{word}=true" if word in flags and after.lower() not in ("true", "false") else word
        for word, after in pairwise([*words, ""])
    ]


def progress_stream() -> TextIO:
    """Where progress bars go: stderr, or the terminal that recipes/utils/run names, where that is a log."""
    with suppress(OSError):
        if terminal := os.environ.get("IA3_SPEECH_PROGRESS"):
            return Path(terminal).open("w", encoding="utf-8")
    return sys.stderr


def set_up_logging() -> None:
    """Messages to stderr, so that stdout holds results alone; third parties only when something is wrong."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("ia3_speech").setLevel(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
