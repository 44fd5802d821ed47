"""Command lines: flags from a function's signature or a dataclass's fields, errors without a traceback.

    def main(data: Path, out: Path, seed: int = 0): ...
    if __name__ == "__main__":
        command(main)

argparse reads the words; signature and docstrings say what they mean. A `UserError` is printed as a line that
begins with `error:` and ends the process with code 1; a command line that does not parse ends it with code 2.
"""

import argparse
import atexit
import dataclasses
import difflib
import gc
import inspect
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, NoReturn, TextIO, Union, get_args, get_origin, get_type_hints

CONFIGURATIONS = Path(__file__).parent / "conf"  # `--config ia3` is ia3.yaml in this folder
REQUIRED = inspect.Parameter.empty
NAMES = {int: "a whole number", float: "a number", bool: "true or false", dict: 'pairs such as {"a": "b"}'}


class UserError(Exception):
    """Something the user can put right. The message names the file, the line and a hint."""


def command(run: Callable | dict[str, Callable], argv: list[str] | None = None) -> NoReturn:
    """Parse the command line for `run` (a function, or a dictionary of sub-commands), call it, exit.

    The fields of a parameter that is a dataclass are flags, and beside other parameters a group in `--help`,
    under the dataclass's first line. `--config FILE` (YAML) sets flags: a flag on the line overrides the
    file, the file the default. A function of `*files` takes any number of arguments before, between and after
    its flags. Flags take dashes or underscores alike; a flag of type bool stands alone (`--check-audio`) or
    takes true or false; a flag of type list takes several words, or one such as [a,b].

    `run` may return an exit code (int); None is 0.
    """
    # Messages go to stderr, so that stdout holds results alone; third parties' when something is wrong.
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("ia3_speech").setLevel(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    atexit.register(gc.freeze)  # Python's last collections would walk torch and Transformers for a second
    try:
        code = call(run, sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # the shell's code for SIGINT
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of `… | head` has left, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, a missing permission: a traceback would not help the user
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(code or 0)


def progress_stream() -> TextIO:
    """Where progress bars go: stderr, or the terminal that recipes/utils/run names where stderr is a log."""
    with suppress(OSError):
        if terminal := os.environ.get("IA3_SPEECH_PROGRESS"):
            return Path(terminal).open("w", encoding="utf-8")
    return sys.stderr


class Argument(NamedTuple):
    """A parameter of a function, or a field of a dataclass that is one."""

    name: str
    type: Any  # of `X | None`, X
    default: Any  # REQUIRED where there is none
    help: str
    place: Literal["flag", "positional", "variadic"]
    owner: tuple[str, type] | None = None  # of a field: the parameter, and its dataclass

    @property
    def written(self) -> str:
        return f"--{self.name.replace('_', '-')}" if self.place == "flag" else self.name

    @property
    def wanted(self) -> str:
        kind = get_args(self.type)[0] if get_origin(self.type) is list else self.type
        choices = ", ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else ""
        return f"none of {choices}" if choices else f"not {NAMES.get(get_origin(kind) or kind, 'text')}"


class Parser(argparse.ArgumentParser):
    """A parser that gives the words of the line as they stand, and whose errors are one line."""

    def __init__(self, **options: Any):
        options |= {"argument_default": argparse.SUPPRESS, "allow_abbrev": False}
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str, hint: str = "") -> NoReturn:
        self.exit(2, f"error: {message} ({hint}--help lists the options)\n")


def call(run: Callable | dict[str, Callable], words: list[str]) -> Any:
    """Call `run`, or the sub-command that the first word names. Code 2 where `words` do not parse."""
    functions = run if isinstance(run, dict) else {"": run}
    parsers = make_parsers(functions)
    name = words[0] if words[:1] and words[0] in parsers else ""
    parser, words = parsers[name], words[1:] if name else words
    if name not in functions:
        parser.parse_args(words)  # --help, or no such command
    known = {a.written: a for a in arguments_of(functions[name])}
    words, rest = in_standard_form(parser, words, known)
    given = vars(parser.parse_intermixed_args(words))
    if file := given.pop("config", None):
        given = configuration(parser, file, {a.name for a in known.values() if a.place == "flag"}) | given
    if missing := [flag for flag, a in known.items() if a.default is REQUIRED and a.name not in given]:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    values = {}
    for flag, a in known.items():
        try:
            values[a.name] = value_of(a.type, given[a.name]) if a.name in given else a.default
        except (KeyError, TypeError, ValueError):
            parser.error(f"{flag}: {given[a.name]!r} is {a.wanted}")
    for parameter, kind in {a.owner for a in known.values() if a.owner}:
        values[parameter] = kind(**{field.name: values.pop(field.name) for field in dataclasses.fields(kind)})
    files = [word for a in known.values() if a.place == "variadic" for word in [*values.pop(a.name), *rest]]
    return functions[name](*files, **values)


def make_parsers(functions: dict[str, Callable]) -> dict[str, Parser]:
    """The parser of a function; or one of each sub-command, and "": one that tells which there are."""
    module = next(iter(functions.values())).__globals__
    program = sys.argv[0] if sys.argv[0].startswith("ia3-speech ") else None
    if not program and (spec := module.get("__spec__")):
        program = f"python -m {spec.name.removesuffix('.__main__')}"
    parsers = {"": Parser(prog=program, description=description(module.get("__doc__")))}
    if "" not in functions:
        commands = parsers[""].add_subparsers(metavar="COMMAND", required=True)
        for name, function in functions.items():
            text = description(function.__doc__)
            parsers[name] = commands.add_parser(name, help=text.partition("\n")[0], description=text)
    for name, function in functions.items():
        help = argparse.SUPPRESS if name else "YAML file of options; flags override it"
        parsers[name].add_argument("--config", metavar="FILE", help=help)
        add_arguments(parsers[name], arguments_of(function))
    return parsers


def in_standard_form(
    parser: Parser, words: list[str], known: dict[str, Argument]
) -> tuple[list[str], list[str]]:
    """Flags with dashes and `=`, `--no-x` for `--x false` of type bool; and what stands behind `--`."""
    end = words.index("--") if "--" in words else len(words)
    left, standard = words[:end], []
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
            if name not in {*known, "--config", "--help"}:
                flags = [flag for flag, a in known.items() if a.place == "flag"]
                near = difflib.get_close_matches(name, flags, n=1, cutoff=0.7)
                hint = f"did you mean {near[0]}? " if near else ""
                parser.error(f"unrecognized arguments: {name}{equals}{value}", hint)
            if name in known and known[name].type is bool:
                value = value or (left.pop(0) if left and left[0].lower() in ("true", "false") else "true")
                if value.lower() not in ("true", "false"):
                    parser.error(f"{name}: {value!r} is not true or false")
                name, equals, value = name if value.lower() == "true" else f"--no-{name[2:]}", "", ""
            elif not equals and left and name in known and get_origin(known[name].type) is not list:
                equals, value = "=", left.pop(0)  # which may begin with a dash: -1e3
        standard.append(name + equals + value)
    is_variadic = any(a.place == "variadic" for a in known.values())
    return (standard, words[end + 1 :]) if is_variadic else (standard + words[end:], [])


def configuration(parser: Parser, name: str, known: set[str]) -> dict[str, Any]:
    """The options in a YAML file, or in a configuration that the package contains."""
    import yaml

    file = Path(name) if Path(name).is_file() else CONFIGURATIONS / f"{name}.yaml"
    try:
        options = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        parser.error(f"--config: there is no file {name} (the package contains ia3, for train)")
    except (ValueError, yaml.YAMLError) as error:
        parser.error(f"--config: {file}: {error}")
    if not isinstance(options, dict):
        parser.error(f"--config: {file}: holds no options, such as `epochs: 8`")
    if unknown := ", ".join(str(option) for option in options if option not in known):
        parser.error(f"--config: {file}: unknown option {unknown}")
    return options


def value_of(kind: Any, value: Any) -> Any:
    """A value of type `kind`, from words of the line or from YAML. Raises ValueError, TypeError, KeyError."""
    import yaml

    origin = get_origin(kind) or kind
    if value is None:  # null in YAML
        return None
    if origin is tuple:  # of variadic words
        return value
    if origin is list:
        items = value if isinstance(value, list) else [value]
        items = yaml.safe_load(items[0]) if len(items) == 1 and str(items[0])[:1] == "[" else items
        return [value_of(get_args(kind)[0], item) for item in items]
    if origin is dict:
        return dict(yaml.safe_load(value) if isinstance(value, str) else value)
    if origin is Literal:
        return {str(choice): choice for choice in get_args(kind)}[str(value)]
    if origin is bool:
        return {"true": True, "false": False}[str(value).lower()]
    if origin is float:
        value = str(value).replace(".nan", "nan").replace(".inf", "inf")  # YAML's and Python's spelling
    return origin(str(value)) if origin in (int, float, str, Path) else value


# ---- what a function takes, and its help


def arguments_of(target: Callable | type) -> list[Argument]:
    """The arguments that the parameters of a function stand for; those of a dataclass are flags."""
    import docstring_parser

    is_class, hints, helps, arguments = inspect.isclass(target), get_type_hints(target), {}, []
    for each in reversed(target.__mro__[:-1]) if is_class else [target]:
        described = docstring_parser.parse_from_object(each).params  # in the docstring, or below a field
        helps |= {p.arg_name: " ".join(p.description.split()) for p in described if p.description}
    factories = {f.name: f.default_factory for f in dataclasses.fields(target)} if is_class else {}
    for name, parameter in inspect.signature(target).parameters.items():
        hint, default = hints.get(name, str), parameter.default
        if dataclasses.is_dataclass(hint):
            arguments += [a._replace(owner=(name, hint)) for a in arguments_of(hint)]
            continue
        if factories.get(name, dataclasses.MISSING) is not dataclasses.MISSING:
            default = factories[name]()
        if get_origin(hint) in (Union, UnionType):
            hint = next(kind for kind in get_args(hint) if kind is not NoneType)
        is_flag = is_class or parameter.kind is parameter.KEYWORD_ONLY or default is not REQUIRED
        place = "flag" if is_flag else "positional"
        if parameter.kind is parameter.VAR_POSITIONAL:
            place, default, hint = "variadic", (), tuple
        arguments.append(Argument(name, hint, default, helps.get(name, ""), place))
    return arguments


def add_arguments(parser: Parser, arguments: list[Argument]) -> None:
    """Add arguments to a parser, those of dataclasses in groups; a flag's default stands in its help."""
    groups: dict[tuple[str, type] | None, Any] = dict.fromkeys(a.owner for a in arguments)
    for owner in groups:
        title = description(owner[1].__doc__).partition("\n")[0].rstrip(".") if owner else ""
        groups[owner] = parser.add_argument_group(title) if title and len(groups) > 1 else parser
    for a in arguments:
        options: dict[str, Any] = {}
        if a.type is bool:
            options["action"] = "store_true"
            opposite = {"dest": a.name, "action": "store_false", "help": argparse.SUPPRESS}
            parser.add_argument(f"--no-{a.written[2:]}", **opposite)
        elif get_origin(a.type) is Literal:
            options["metavar"] = f"{{{','.join(map(str, get_args(a.type)))}}}"
        elif a.place == "variadic":
            options = {"nargs": "*", "metavar": a.name.removesuffix("s").upper()}
        elif get_origin(a.type) is list:
            options["nargs"] = "*" if a.place == "flag" else "+"
        note = " (required)" if a.default is REQUIRED and a.place == "flag" else ""
        if a.default is not REQUIRED and a.default not in (False, None, "", [], {}, ()):
            shown = " ".join(map(str, a.default)) if isinstance(a.default, list) else a.default
            note = f" (default: {shown})"
        groups[a.owner].add_argument(a.written, help=(a.help + note).replace("%", "%%"), **options)


def description(docstring: str | None) -> str:
    """A docstring without the arguments, for argparse."""
    text = inspect.cleandoc(docstring or "").partition("\n\nArgs:")[0].partition("\n\nAttributes:")[0]
    return text.replace("%", "%%")
