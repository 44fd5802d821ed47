"""Command lines: flags from a function's signature or a dataclass's fields, errors without a traceback.

    def main(data: Path, out: Path, seed: int = 0): ...
    if __name__ == "__main__":
        command(main)

The signature and the docstrings define the flags and their help. A `UserError` is printed as a line that
begins with `error:`, with exit code 1; a command line that does not parse gives code 2. The library's errors
name a parameter in backticks, with its value if that matters; the command line prints its flag instead:

    raise UserError("`lm_weight` needs `lm` (leave out `search=greedy`)")
    error: --lm-weight needs --lm (leave out --search greedy)
"""

import argparse
import atexit
import dataclasses
import difflib
import gc
import inspect
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from ia3_speech.common.errors import UserError

CONFIGURATIONS = Path(__file__).parents[1] / "conf"  # `--config ia3_plus` is ia3_plus.yaml in this folder
REQUIRED = inspect.Parameter.empty
KINDS = {int: "whole number", float: "number", dict: 'pairs such as {"a": "b"}'}  # as errors name them
WHISPER_FLAGS = {"--model": "--base", "--output-format": "--format"}
PARAMETER = re.compile(r"`(\w+)(?:=([^`]+))?`")  # in the library's errors

_flags: dict[str, str] = {}  # of the command that runs: parameter → flag


def pip_install(package: str) -> str:
    """The command that installs a package into this environment: by pip, or, if pip is missing, by uv.
    `.[vad]` is an extra of the clone."""
    python = os.environ.get("IA3_SPEECH_PYTHON", "python")  # path.sh sets it
    package = f"-e '{package}'" if package[0] == "." else package
    return f"{f'{python} -m' if find_spec('pip') else 'uv'} pip install {package}"


def command(run: Callable | dict[str, Callable], argv: list[str] | None = None) -> NoReturn:
    """Parse the command line for `run` (a function, or a dictionary of sub-commands), call it, exit.

    The fields of a parameter that is a dataclass are flags, and a group in `--help` under the first line of
    the dataclass's docstring. `--config FILE` (YAML) sets flags: a flag on the line overrides the file, the
    file overrides the default. A function with `*files` takes any number of words before, between and after
    its flags. Flags take dashes or underscores; a flag of type bool takes no value (`--check-audio`, and
    `--no-check-audio` against a file's true); a flag of type list takes several words.

    `run` may return an exit code (int); None is 0.
    """
    open_streams()
    # Messages go to stderr, so that stdout has only results; messages of other packages only if they warn.
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("ia3_speech").setLevel(logging.INFO)
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # our errors explain that the Hub is unreachable
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    atexit.register(gc.freeze)  # Python's last collections would walk torch and Transformers for a second
    leave = argparse.ArgumentParser().exit  # with a code, and a message on stderr
    try:
        leave(call(run, sys.argv[1:] if argv is None else argv) or 0)
    except UserError as error:
        leave(1, f"error: {message_of(error)}\n")
    except KeyboardInterrupt:  # the shell's code for SIGINT
        leave(130, "interrupted\n")
    except BrokenPipeError:  # the reader of `… | head` has closed the pipe, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(0)
    except OSError as error:  # a full disk, a missing permission: a traceback would not help the user
        leave(1, f"error: {error.filename or 'the system'}: {error.strerror or error}\n")


def message_of(error: Exception) -> str:
    """The message of an error, with the flags of the running command in place of its parameters' names."""

    def flag_or_name(match: re.Match) -> str:
        flag = _flags.get(match[1])
        return match[0] if flag is None else f"{flag} {match[2]}" if match[2] else flag

    return PARAMETER.sub(flag_or_name, str(error))


def open_streams() -> None:
    """Let stdout and stderr accept any character, and discard output to a closed stream without an error."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and stream.errors != "surrogateescape":
            stream.reconfigure(errors="backslashreplace")


class Operand(str):
    """A word after `--`, never a flag. Python 3.11's `parse_intermixed_args` forgets the `--`."""


class Parser(argparse.ArgumentParser):
    """A parser of a function's parameters. It returns values from the line only; its errors are one line."""

    def __init__(self, **options: Any):
        options |= {"argument_default": argparse.SUPPRESS, "allow_abbrev": False}
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.flags: dict[str, str] = {}  # parameter → `--name`, or `name` of a positional argument
        self.line: list[str] = []
        for kind, name in KINDS.items():
            self.register("type", name, (lambda word: dict(json.loads(word))) if kind is dict else kind)

    def error(self, message: str) -> NoReturn:
        message, hint = message.removeprefix("argument "), ""
        if message.startswith("unrecognized arguments: --"):
            word = message.split()[2].partition("=")[0].replace("_", "-")
            if (flag := WHISPER_FLAGS.get(word)) in self.flags.values():
                hint = f"Whisper's {word} is {flag} here; "
            elif near := difflib.get_close_matches(word, self.flags.values(), n=1, cutoff=0.7):
                hint = f"did you mean {near[0]}? "
        elif message.startswith("the following arguments are required: ") and "--" not in message:
            takes = {flag for flag, action in self._option_string_actions.items() if action.nargs is None}
            hint = "".join(f"{a} took {b}; " for a, b in pairwise(self.line) if a in takes)
        self.exit(2, f"error: {message} ({hint}--help lists the options)\n")

    def parse_line(self, words: list[str]) -> dict[str, Any]:
        """Parameter → value, for the parameters on the command line."""
        end = words.index("--") if "--" in words else len(words)
        self.line = [*words[:end], *map(Operand, words[end + 1 :])]
        return vars(self.parse_intermixed_args(self.line))

    def _parse_optional(self, word: str) -> Any:
        return None if isinstance(word, Operand) else super()._parse_optional(word)

    def add(self, target: Callable | type, group: Any = None) -> None:
        """Add the parameters of a function, or the fields of a dataclass."""
        is_class, hints, helps = inspect.isclass(target), get_type_hints(target), descriptions(target)
        fields = {field.name: field for field in dataclasses.fields(target)} if is_class else {}
        for name, parameter in inspect.signature(target).parameters.items():
            hint, default = hints.get(name, str), parameter.default
            if dataclasses.is_dataclass(hint):
                self.add(hint, self.add_argument_group(description(hint).partition("\n")[0].rstrip(".")))
                continue
            if callable(factory := getattr(fields.get(name), "default_factory", None)):
                default = factory()
            is_flag = is_class or parameter.kind is parameter.KEYWORD_ONLY or default is not REQUIRED
            options = options_of(hint, is_flag)
            if parameter.kind is parameter.VAR_POSITIONAL:
                options = {"nargs": "*", "metavar": name.removesuffix("s").upper()}
            note = ""
            if default is REQUIRED and is_flag:
                note, options["required"] = " (required)", True
            elif default not in (REQUIRED, False, None, "", [], {}):
                note = f" (default: {' '.join(map(str, default)) if isinstance(default, list) else default})"
            options["help"] = (helps.get(name, "") + note).replace("%", "%%")
            self.add_parameter(group or self, name, is_flag, options)
            if options.get("action") == "store_true":
                options = {"action": "store_false", "help": argparse.SUPPRESS, "dest": name}
                self.add_parameter(self, f"no_{name}", True, options)

    def add_parameter(self, group: Any, name: str, is_flag: bool, options: dict[str, Any]) -> None:
        """Add an argument; a flag is also recognised with underscores."""
        self.flags[name] = f"--{name.replace('_', '-')}" if is_flag else name
        action = group.add_argument(self.flags[name], **options)
        if is_flag:
            self._option_string_actions[f"--{name}"] = action


def options_of(hint: Any, is_flag: bool) -> dict[str, Any]:
    """The options of `add_argument` for a parameter's type."""
    hint = get_args(hint)[0] if get_origin(hint) in (Union, UnionType) else hint  # of X | None
    origin = get_origin(hint)
    if hint is bool:
        return {"action": "store_true"}
    if origin is Literal:
        return {"choices": get_args(hint)}
    kind = get_args(hint)[0] if origin is list else origin or hint
    several = {"nargs": "*" if is_flag else "+"} if origin is list else {}
    return {"type": KINDS.get(kind, kind), **several}


def descriptions(target: Callable | type) -> dict[str, str]:
    """Parameter → its description in the docstring of a function, or of a dataclass and its parents."""
    import docstring_parser

    texts = {}
    for documented in reversed(target.__mro__[:-1]) if inspect.isclass(target) else [target]:
        parameters = docstring_parser.parse_from_object(documented).params  # docstring, or below a field
        texts |= {p.arg_name: " ".join(p.description.split()) for p in parameters if p.description}
    return texts


def description(documented: Any) -> str:
    """A docstring without its arguments, for argparse."""
    text = inspect.cleandoc(documented.__doc__ or "")
    return text.partition("\n\nArgs:")[0].partition("\n\nAttributes:")[0]


def call(run: Callable | dict[str, Callable], words: list[str]) -> Any:
    """Call `run`, or the sub-command that the first word names. Exits with code 2 if `words` do not parse."""
    module = inspect.getmodule(next(iter(run.values())) if isinstance(run, dict) else run)
    program = None
    if not sys.argv[0].startswith("ia3-speech ") and (spec := module.__spec__):
        program = f"python -m {spec.name.replace('.commands.', '.')}"
    parser = Parser(prog=program, description=description(module))
    if isinstance(run, dict):
        commands = parser.add_subparsers(metavar="COMMAND", required=True)
        for name, function in run.items():
            text = description(function)
            commands.add_parser(name, help=text.partition("\n")[0].replace("%", "%%"), description=text)
        parser.parse_args(words[:1])  # exits for --help, no command, or an unknown name
        parser, run, words = commands.choices[words[0]], run[words[0]], words[1:]
        parser.add(run)
    else:
        parser.add_argument("--config", metavar="FILE", help="YAML file of options; flags override it")
        parser.add(run)
        finder = Parser(add_help=False)
        finder.add_argument("--config")
        if file := vars(finder.parse_known_args(words)[0]).get("config"):
            words = [*configuration(parser, file), f"--config={file}", *words]  # --config ends a list
    given = parser.parse_line(words)
    _flags.clear()
    _flags.update(parser.flags)
    for parameter, kind in get_type_hints(run).items():
        if parameter != "return" and dataclasses.is_dataclass(kind):
            names = [field.name for field in dataclasses.fields(kind) if field.name in given]
            given[parameter] = kind(**{name: given.pop(name) for name in names})
    arguments = inspect.signature(run).bind_partial()
    arguments.arguments |= given
    return run(*arguments.args, **arguments.kwargs)


def configuration(parser: Parser, name: str) -> list[str]:
    """The command-line words for the options in a YAML file, or in a configuration of the package."""
    import yaml

    file = Path(name) if Path(name).is_file() else CONFIGURATIONS / f"{name}.yaml"
    try:
        content, words = file.read_text("utf-8"), []
        # The texts are needed too: YAML 1.1 reads off as false, and 0024 as 20.
        options, texts = yaml.safe_load(content), yaml.load(content, yaml.BaseLoader)
    except FileNotFoundError:
        parser.error(f"--config: no file {name} (the package contains ia3_plus, lora, full …, for train)")
    except (ValueError, yaml.YAMLError) as error:
        parser.error(f"--config: {file}: {error}")
    if not isinstance(options, dict):
        parser.error(f"--config: {file}: holds no options, such as `epochs: 8`")
    for (name, text), value in zip(texts.items(), options.values(), strict=True):
        parameter = name.replace("-", "_")
        if not (flag := parser.flags.get(parameter, "")).startswith("--"):
            parser.error(f"--config: {file}: unknown option {name}")
        if isinstance(value, bool) and (opposite := parser.flags.get(f"no_{parameter}")):
            words.append(flag if value else opposite)
        elif isinstance(value, list):
            words += [flag, *map(str, text)]
        elif isinstance(value, dict):
            pairs = zip(text.items(), value.values(), strict=True)
            plain = {key: t if type(v) is int and str(v) != t else v for (key, t), v in pairs}
            words.append(f"{flag}={json.dumps(plain)}")
        elif value is not None:
            words.append(f"{flag}={text}")
    return words
