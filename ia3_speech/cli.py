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
from typing import Any, Literal, NoReturn, TextIO, Union, get_args, get_origin, get_type_hints

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
    takes true or false; a flag of type list takes several words.

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


class Parser(argparse.ArgumentParser):
    """A parser of what functions take, which gives what stands in the line alone; its errors are one line.

    Attributes:
        flags, types: of each parameter and field, what is typed, `--name` or `name`; and its type.
        required: the parameters without a default.
        owners: parameter → the dataclass whose fields are flags.
        variadic: the parameter that takes any number of words.
    """

    def __init__(self, **options: Any):
        options |= {"argument_default": argparse.SUPPRESS, "allow_abbrev": False}
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.flags: dict[str, str] = {}
        self.types: dict[str, Any] = {}
        self.required: list[str] = []
        self.owners: dict[str, type] = {}
        self.variadic = ""

    def error(self, message: str) -> NoReturn:
        message, hint = message.removeprefix("argument "), ""
        if message.startswith("unrecognized arguments: --"):
            word = message.split()[2].partition("=")[0]
            if near := difflib.get_close_matches(word, self.flags.values(), n=1, cutoff=0.7):
                hint = f"did you mean {near[0]}? "
        self.exit(2, f"error: {message} ({hint}--help lists the options)\n")

    def add(self, target: Callable | type, group: Any = None) -> None:
        """Add what the parameters of a function, or the fields of a dataclass, stand for."""
        import docstring_parser

        is_class, hints, helps = inspect.isclass(target), get_type_hints(target), {}
        for each in reversed(target.__mro__[:-1]) if is_class else [target]:
            described = docstring_parser.parse_from_object(each).params  # in the docstring, or below a field
            helps |= {p.arg_name: " ".join(p.description.split()) for p in described if p.description}
        factories = {f.name: f.default_factory for f in dataclasses.fields(target)} if is_class else {}
        parameters = inspect.signature(target).parameters
        for name, parameter in parameters.items():
            hint, default = hints.get(name, str), parameter.default
            if dataclasses.is_dataclass(hint):
                title = description(hint.__doc__).partition("\n")[0].rstrip(".")
                self.add(hint, self.add_argument_group(title) if len(parameters) > 1 else None)
                self.owners[name] = hint
                continue
            if factories.get(name, dataclasses.MISSING) is not dataclasses.MISSING:
                default = factories[name]()
            if get_origin(hint) in (Union, UnionType):
                hint = next(kind for kind in get_args(hint) if kind is not NoneType)
            is_flag = is_class or parameter.kind is parameter.KEYWORD_ONLY or default is not REQUIRED
            self.flags[name] = flag = f"--{name.replace('_', '-')}" if is_flag else name
            self.types[name] = hint
            options: dict[str, Any] = {"type": converter(hint)}
            if parameter.kind is parameter.VAR_POSITIONAL:
                default, self.variadic = None, name
                options = {"nargs": "*", "metavar": name.removesuffix("s").upper()}
            elif hint is bool:
                options = {"action": "store_true"}
                opposite = {"dest": name, "action": "store_false", "help": argparse.SUPPRESS}
                self.add_argument(f"--no-{flag[2:]}", **opposite)
            elif get_origin(hint) is list:
                options["nargs"] = "*" if is_flag else "+"
            elif get_origin(hint) is Literal:
                options["metavar"] = f"{{{','.join(get_args(hint))}}}"
            note = " (required)" if default is REQUIRED and is_flag else ""
            if default is REQUIRED:
                self.required.append(name)
            elif default not in (False, None, "", [], {}):
                note = f" (default: {' '.join(map(str, default)) if isinstance(default, list) else default})"
            (group or self).add_argument(
                flag, help=(helps.get(name, "") + note).replace("%", "%%"), **options
            )


def call(run: Callable | dict[str, Callable], words: list[str]) -> Any:
    """Call `run`, or the sub-command that the first word names. Code 2 where `words` do not parse."""
    module = (next(iter(run.values())) if isinstance(run, dict) else run).__globals__
    program = sys.argv[0] if sys.argv[0].startswith("ia3-speech ") else None
    if not program and (spec := module.get("__spec__")):
        program = f"python -m {spec.name.removesuffix('.__main__')}"
    parser = Parser(prog=program, description=description(module.get("__doc__")))
    if isinstance(run, dict):
        commands = parser.add_subparsers(metavar="COMMAND", required=True)
        for name, function in run.items():
            text = description(function.__doc__)
            commands.add_parser(name, help=text.partition("\n")[0], description=text)
        if not words or words[0] not in run:
            parser.parse_args(words)  # --help, or no such command
        parser, function, words = commands.choices[words[0]], run[words[0]], words[1:]
    else:
        function = run
        parser.add_argument("--config", metavar="FILE", help="YAML file of options; flags override it")
    parser.add(function)
    switches = {parser.flags[name] for name, kind in parser.types.items() if kind is bool}
    given = vars(parser.parse_intermixed_args(in_standard_form(words, switches)))
    if file := given.pop("config", None):
        given = configuration(parser, file) | given
    if missing := [parser.flags[name] for name in parser.required if name not in given]:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    for parameter, kind in parser.owners.items():
        names = [field.name for field in dataclasses.fields(kind) if field.name in given]
        given[parameter] = kind(**{field: given.pop(field) for field in names})
    return function(*given.pop(parser.variadic, ()), **given)


def in_standard_form(words: list[str], switches: set[str]) -> list[str]:
    """Flags with dashes; of a flag of type bool `--x` for `--x true`, `--no-x` for `--x false`."""
    standard: list[str] = []
    for word in words:
        if word in ("true", "false") and standard and standard[-1] in switches:
            word = f"{standard.pop()}={word}"
        name, equals, value = word.partition("=")
        name = name.replace("_", "-") if name.startswith("--") else name
        if name in switches and value in ("true", "false"):
            name, equals, value = name if value == "true" else f"--no-{name[2:]}", "", ""
        standard.append(name + equals + value)
    return standard


def configuration(parser: Parser, name: str) -> dict[str, Any]:
    """The options in a YAML file, or in a configuration that the package contains."""
    import yaml

    file = Path(name) if Path(name).is_file() else CONFIGURATIONS / f"{name}.yaml"
    try:
        options = yaml.safe_load(file.read_text("utf-8"))
    except FileNotFoundError:
        parser.error(f"--config: there is no file {name} (the package contains ia3, lora, full …, for train)")
    except (ValueError, yaml.YAMLError) as error:
        parser.error(f"--config: {file}: {error}")
    if not isinstance(options, dict):
        parser.error(f"--config: {file}: holds no options, such as `epochs: 8`")
    for name, value in options.items():
        if not parser.flags.get(name, "").startswith("--"):
            parser.error(f"--config: {file}: unknown option {name}")
        convert, is_list = converter(parser.types[name]), get_origin(parser.types[name]) is list
        try:
            if value is not None:
                items = [
                    convert(item) for item in (value if is_list and isinstance(value, list) else [value])
                ]
                options[name] = items if is_list else items[0]
        except argparse.ArgumentTypeError as error:
            parser.error(f"{parser.flags[name]}: {error}")
    return options


def converter(kind: Any) -> Callable[[Any], Any]:
    """Gives a value of type `kind`, or of what a list holds, from a word of the line or from YAML."""
    kind = get_args(kind)[0] if get_origin(kind) is list else kind
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    kind = get_origin(kind) or kind
    wanted = f"none of {', '.join(choices)}" if choices else f"not {NAMES.get(kind, 'text')}"

    def convert(value: Any) -> Any:
        import yaml

        try:
            if choices:
                return choices[choices.index(str(value))]
            if kind is bool:
                return {"true": True, "false": False}[str(value).lower()]
            if kind is dict:
                return dict(yaml.safe_load(value) if isinstance(value, str) else value)
            text = str(value)  # .inf and .nan are YAML's spelling
            return kind(text.replace(".inf", "inf").replace(".nan", "nan") if kind is float else text)
        except (KeyError, TypeError, ValueError, yaml.YAMLError):
            raise argparse.ArgumentTypeError(f"{value!r} is {wanted}") from None

    return convert


def description(docstring: str | None) -> str:
    """A docstring without the arguments, for argparse."""
    text = inspect.cleandoc(docstring or "").partition("\n\nArgs:")[0].partition("\n\nAttributes:")[0]
    return text.replace("%", "%%")
