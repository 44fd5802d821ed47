"""Command lines: flags from a function's signature or a dataclass's fields, errors without a traceback.

    def main(data: Path, out: Path, seed: int = 0): ...
    if __name__ == "__main__":
        command(main)

jsonargparse turns the signature into arguments (those with a default are flags) and the docstring into
`--help`. A `UserError` is printed as one `error:` line and ends the process with code 1; a command line that
does not parse ends it with code 2.
"""

import argparse
import atexit
import dataclasses
import gc
import inspect
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TextIO, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    import jsonargparse

PACKAGED_CONFIGURATIONS = Path(__file__).parent / "conf"  # `--config ia3` is ia3.yaml in this folder
GRAMMARS = ("dictation",)  # in the same folder, but of no options


class UserError(Exception):
    """Something the user can put right. The message names the file, the line and a hint."""


def command(run: Callable | dict[str, Callable], argv: list[str] | None = None) -> None:
    """Parse the command line for `run` (a function, or a dictionary of sub-commands), call it, exit.

    The fields of a parameter that is a dataclass are flags, and beside other parameters a group in `--help`,
    under the dataclass's first line. `--config FILE` (YAML) sets flags: a flag on the line overrides the
    file, the file the default. A function of `*files` takes any number of arguments before, between and after
    its flags. Flags take dashes or underscores alike; a flag of type bool stands alone (`--check-audio`) or
    takes true or false; a flag of type list takes several words, or one such as [a,b].

    `run` may return an exit code (int); None is 0.
    """
    set_up_logging()
    atexit.register(gc.freeze)  # Python's last collections would walk torch and Transformers for a second
    try:
        code = call(run, sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        exit_interrupted()
    except BrokenPipeError:  # the reader of `… | head` has left, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, a missing permission: a traceback would not help the user
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(code or 0)


def exit_interrupted() -> NoReturn:
    """What Ctrl-C does, at any time: one line, no traceback, and the shell's code for SIGINT."""
    print("interrupted", file=sys.stderr)
    sys.exit(130)


def call(run: Callable | dict[str, Callable], words: list[str]) -> Any:
    """Call `run`, or the sub-command that the first word names. Exits with code 2 where `words` do not
    parse."""
    import jsonargparse

    if isinstance(run, dict):
        functions = list(run.values())
        words = normalized(words, {k: v for one in functions for k, v in flag_types(one).items()}, first=1)
        parser_class = lambda **options: make_parser(functions[0], **options)  # noqa: E731
        options = {"config_help": argparse.SUPPRESS, "fail_untyped": False, "parser_class": parser_class}
        return jsonargparse.auto_cli(run, words, **options)
    parser = make_parser(run)
    classes = option_classes(run)
    kinds = flag_types(run)
    named = packaged_configurations({flag.removeprefix("--") for flag in kinds})
    contained = f", or the name of one that the package contains: {', '.join(named)}" if named else ""
    parser.add_argument("--config", help=f"YAML file of options{contained}; flags override it")
    former = {old: new for one in classes.values() for old, new in getattr(one, "FORMER_NAMES", {}).items()}

    def configuration(name: str) -> list[str]:
        return configured(parser, name, {flag.removeprefix("--") for flag in kinds}, former)

    alone = [*classes] == [name for name in get_type_hints(run) if name != "return"]
    variadic = variadic_parameter(run)
    if variadic:
        import docstring_parser

        described = {p.arg_name: p.description for p in docstring_parser.parse(run.__doc__ or "").params}
        shown = variadic.removesuffix("s").upper()
        none = argparse.SUPPRESS
        parser.add_argument(variadic, nargs="*", metavar=shown, default=none, help=described.get(variadic))
    names = parser.add_function_arguments(
        run, as_group=False, as_positional=True, fail_untyped=False, skip={*classes}
    )
    for one in classes.values():
        parser.add_class_arguments(one, as_group=not alone)
    namespace = parser.parse_args(normalized(words, kinds, configuration, separated=bool(variadic)))
    given = {name: getattr(namespace, name) for name in names if name not in classes}
    for name, one in classes.items():
        given[name] = one(**{field.name: getattr(namespace, field.name) for field in dataclasses.fields(one)})
    files = getattr(namespace, variadic, None) or () if variadic else ()
    return run(*files, **given)


# ---- the words of a command line


def normalized(
    words: list[str],
    kinds: dict[str, Any],
    configured: Callable[[str], list[str]] | None = None,
    *,
    first: int = 0,
    separated: bool = False,
) -> list[str]:
    """A command line as jsonargparse wants it: `--name=value` flags, then the other words, in their orders.

    - `--check-audio` and `--check_audio` are the same flag.
    - A flag of type bool gets its value where none follows: `--check_audio=true`.
    - The words after a flag of type list become one: `--score a b` → `--score=["a", "b"]`.
    - `--config FILE` is replaced by what `configured` makes of it, in front of all flags, which override it.

    Args:
        kinds: each flag with its type.
        first: how many of the other words stay in front of the flags: 1 where that is a sub-command.
        separated: a `--` goes in front of the other words, so that they may start with a dash.
    """
    flags, others, settings = [], [], []
    rest = [*words]
    while rest and rest[0] != "--":
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            others.append(word)
            continue
        name, equals, after_equals = word.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        is_configuration = configured is not None and name == "--config"
        kind = str if is_configuration else kinds.get(name)
        value = value_of(kind, after_equals if equals else None, rest)
        if is_configuration and value is not None:
            settings += configured(value)
        else:
            flags.append(name if value is None else f"{name}={value}")
    separator = ["--"] if separated or rest else []
    return [*others[:first], *settings, *flags, *separator, *others[first:], *rest[1:]]


def value_of(kind: Any, value: str | None, rest: list[str]) -> str | None:
    """A flag's value, taken from the words that follow it where it has none; None where it takes none.

    Args:
        kind: the flag's type; None where the flag is unknown.
        value: what stood behind an equals sign.
        rest: the words that follow; those that are the value are removed.
    """
    if get_origin(kind) is list:
        several = [] if value is None else [value]
        while value is None and rest and not rest[0].startswith("-"):
            several.append(rest.pop(0))
        return several[0] if len(several) == 1 and several[0].startswith("[") else json.dumps(several)
    if value is None and kind is bool:
        return rest.pop(0) if rest and rest[0].lower() in ("true", "false") else "true"
    if value is None and kind is not None and rest:
        return rest.pop(0)
    return value


def configured(
    parser: "jsonargparse.ArgumentParser", name: str, known: set[str], former: dict[str, str]
) -> list[str]:
    """The options in a YAML file as flags.

    Args:
        name: a file, or a configuration that the package contains.
        known: the options of the command.
        former: names that earlier versions wrote, with those of today.
    """
    import yaml

    file = Path(name)
    if not file.is_file():
        file = PACKAGED_CONFIGURATIONS / f"{name}.yaml"
    if not file.is_file():
        named = packaged_configurations(known)
        contained = f" (the package contains {', '.join(named)})" if named else ""
        parser.error(f"--config: there is no file {name}{contained}")
    try:
        found = yaml.safe_load(file.read_text("utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        parser.error(f"--config: {file}: {error}")
    if not isinstance(found, dict):
        parser.error(f"--config: {file}: holds no options, such as `epochs: 8`")
    options = {former.get(option, option): value for option, value in found.items()}
    if unknown := ", ".join(str(option) for option in options if option not in known):
        parser.error(f"--config: {file}: unknown option {unknown}")
    return [f"--{o}={value if isinstance(value, str) else json.dumps(value)}" for o, value in options.items()]


def packaged_configurations(known: set[str]) -> list[str]:
    """The names of those that the package contains, of whose options a command knows all."""
    import yaml

    files = [one for one in sorted(PACKAGED_CONFIGURATIONS.glob("*.yaml")) if one.stem not in GRAMMARS]
    return [one.stem for one in files if {*yaml.safe_load(one.read_text("utf-8"))} <= known]


def flag_types(target: Callable | type) -> dict[str, Any]:
    """Each flag of a function or of a dataclass, with its type; `X | None` counts as X."""
    parameters = inspect.signature(target).parameters
    is_class = inspect.isclass(target)
    classes = option_classes(target)
    found = {flag: kind for one in classes.values() for flag, kind in flag_types(one).items()}
    for name, kind in get_type_hints(target).items():
        if name not in parameters or name in classes:
            continue
        parameter = parameters[name]
        if is_class or parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not parameter.empty:
            wanted = [one for one in get_args(kind) if one is not NoneType]
            found[f"--{name}"] = wanted[0] if NoneType in get_args(kind) and len(wanted) == 1 else kind
    return found


def option_classes(run: Callable | type) -> dict[str, type]:
    """The parameters of a function that are dataclasses, whose fields are flags."""
    if inspect.isclass(run):
        return {}
    return {
        name: kind
        for name, kind in get_type_hints(run).items()
        if name != "return" and dataclasses.is_dataclass(kind)
    }


def variadic_parameter(run: Callable) -> str | None:
    """The name of the `*words` parameter of `run`, if it has one."""
    parameters = inspect.signature(run).parameters.values()
    return next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), None)


# ---- help and messages


def make_parser(run: Callable, **options: Any) -> "jsonargparse.ArgumentParser":
    """A parser without arguments; the docstring of the module of `run` says what the command does."""
    description = (run.__globals__.get("__doc__") or "").strip()
    return parser_class()(**{"prog": program(run), "description": description} | options)


def program(run: Callable) -> str | None:
    """`ia3-speech decode` or `python -m ia3_speech.decode`, as the user called it; None for a script."""
    if sys.argv[0].startswith("ia3-speech "):
        return sys.argv[0]
    spec = run.__globals__.get("__spec__")
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else None


@lru_cache(maxsize=1)
def parser_class() -> type:
    """jsonargparse's parser, with a help that shows flags as people type them (`--check-audio`)."""
    import jsonargparse

    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

    class Help(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Defaults that say something, no Python types, the docstring's line breaks as they are."""

        def __init__(self, prog: str, **options: Any):
            super().__init__(prog.replace(" [options] ", " "), **options)

        def _get_help_string(self, action: argparse.Action) -> str:
            default = action.default
            silent = default is False or default in (None, "", [], {}, argparse.SUPPRESS)
            silent = silent or not action.option_strings
            return (action.help or "") + ("" if silent else " (default: %(default)s)")

        def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
            choices = literal_values(getattr(action, "_typehint", None))
            return (
                f"{{{','.join(choices)}}}" if choices else super()._get_default_metavar_for_optional(action)
            )

        def _format_action_invocation(self, action: argparse.Action) -> str:
            return as_typed(super()._format_action_invocation(action))

        def _format_usage(self, usage: str | None, *rest: Any) -> str:
            return as_typed(super()._format_usage(usage, *rest))

    class Parser(jsonargparse.ArgumentParser):
        def __init__(self, *positional: Any, **options: Any):
            super().__init__(
                *positional,
                **{"formatter_class": Help, "print_config": None, "allow_abbrev": False} | options,
            )

        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            """One line, and code 2; jsonargparse itself prints the whole usage before it."""
            message = " ".join(in_words(name_missing(self, message)).split())
            nearest = nearest_flag(getattr(ex, "subcommand_parser", None) or self, message)
            hint = f"did you mean {nearest}? " if nearest else ""
            self.exit(2, f"error: {message} ({hint}--help lists the options)\n")

    return Parser


def literal_values(kind: Any) -> list[str]:
    """The words of `Literal["a", "b"] | None`; none of any other type."""
    wanted = [one for one in get_args(kind) if one is not NoneType]
    is_choice = NoneType in get_args(kind) and len(wanted) == 1 and get_origin(wanted[0]) is Literal
    return [str(value) for value in get_args(wanted[0])] if is_choice else []


def name_missing(parser: "jsonargparse.ArgumentParser", message: str) -> str:
    """`… are required: from_dataset.out` as people type it: `… are required: --out`."""
    start, required, names = message.partition("arguments are required: ")
    return start + required + ", ".join(argument(parser, name) for name in names.split(", "))


def nearest_flag(parser: "jsonargparse.ArgumentParser", message: str) -> str | None:
    """The flag that an unknown one of `unrecognized arguments: --wordscore` may be meant for: one that is
    spelled alike, or one that says less, such as --format for Whisper's --output-format."""
    found = re.match(r"unrecognized arguments: (--[\w-]+)", message)
    if not found:
        return None
    actions, flags = list(parser._actions), []
    for action in actions:  # those of subcommands too
        flags += map(as_typed, action.option_strings)
        if isinstance(action.choices, dict):
            actions += (one for each in action.choices.values() for one in each._actions)
    words = {*found[1].split("-")}
    shorter = [flag for flag in flags if flag.startswith("--") and {*flag.split("-")} < words]
    alike = [get_close_matches(found[1], flags, n=1, cutoff=cutoff) for cutoff in (0.8, 0.7)]
    return next(iter([*alike[0], *shorter, *alike[1]]), None)


def argument(parser: "jsonargparse.ArgumentParser", name: str) -> str:
    """An argument by its name in jsonargparse, `SUBCOMMAND.NAME` or `NAME`: its flag, else its name."""
    for action in parser._actions:
        if action.dest == name:
            return action.option_strings[0] if action.option_strings else name
        first, dot, rest = name.partition(".")
        if dot and isinstance(action.choices, dict) and first in action.choices:
            return argument(action.choices[first], rest)
    return name


TYPE_NAMES = {
    **{"int": "a whole number", "float": "a number", "bool": "true or false"},
    **{"list": "a list such as [a,b]", "dict": 'pairs such as {"a": "b"}'},
}


def in_words(message: str) -> str:
    """jsonargparse's message on a bad value, without Python's types: `--seed: 'x' is not a whole number`."""
    found = re.search(r'Parser key "([\w.]+)":(.*)(?:Got|Given) value: (.*)', message, re.DOTALL)
    if not found:
        return as_typed(message)
    flag = as_typed(f"--{found[1].rpartition('.')[2]}")
    if choices := re.search(r"Literal\[(.*?)\]", found[2]):
        return f"{flag}: {found[3]!r} is none of {choices[1].replace(chr(39), '')}"
    names = dict.fromkeys(re.findall(r"<class '(\w+)'>", found[2]))
    wanted = [TYPE_NAMES[name] for name in names if name in TYPE_NAMES]
    return f"{flag}: {found[3]!r} is not {' or '.join(wanted)}" if wanted else message


def as_typed(text: str) -> str:
    """`--check_audio {true,false}` → `--check-audio`."""
    text = text.replace(" {true,false}", "")
    return re.sub(r"--[\w.]+", lambda flag: flag[0].replace("_", "-"), text)


def progress_stream() -> TextIO:
    """Where progress bars go: stderr, or the terminal that recipes/utils/run names where stderr is a log."""
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
