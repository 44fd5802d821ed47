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
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NoReturn, TextIO, Union, get_args, get_origin, get_type_hints

from ia3_speech.errors import UserError

CONFIGURATIONS = Path(__file__).parent / "conf"  # `--config ia3_plus` is ia3_plus.yaml in this folder
REQUIRED = inspect.Parameter.empty
NAMES = {int: "whole number", float: "number", dict: 'pairs such as {"a": "b"}'}  # as errors call them


def pip_install(package: str) -> str:
    """The command that installs a package into this environment: by pip, or, where there is none, by uv.
    `.[vad]` is an extra of the clone."""
    python = os.environ.get("IA3_SPEECH_PYTHON", "python")  # of path.sh, where it is not the user's own
    package = f"-e '{package}'" if package[0] == "." else package
    return f"{f'{python} -m' if find_spec('pip') else 'uv'} pip install {package}"


OF_WHISPER = {"--model": "--base", "--output-format": "--format"}


def command(run: Callable | dict[str, Callable], argv: list[str] | None = None) -> NoReturn:
    """Parse the command line for `run` (a function, or a dictionary of sub-commands), call it, exit.

    The fields of a parameter that is a dataclass are flags, and beside other parameters a group in `--help`,
    under the dataclass's first line. `--config FILE` (YAML) sets flags: a flag on the line overrides the
    file, the file the default. A function of `*files` takes any number of arguments before, between and after
    its flags. Flags take dashes or underscores alike; a flag of type bool stands alone (`--check-audio`, and
    `--no-check-audio` against a file's true); a flag of type list takes several words.

    `run` may return an exit code (int); None is 0.
    """
    open_streams()
    # Messages go to stderr, so that stdout holds results alone; third parties' when something is wrong.
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("ia3_speech").setLevel(logging.INFO)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # one line says that it can't be reached
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    atexit.register(gc.freeze)  # Python's last collections would walk torch and Transformers for a second
    leave = argparse.ArgumentParser().exit  # with a code, and a message on stderr
    try:
        leave(call(run, sys.argv[1:] if argv is None else argv) or 0)
    except UserError as error:
        leave(1, f"error: {error}\n")
    except KeyboardInterrupt:  # the shell's code for SIGINT
        leave(130, "interrupted\n")
    except BrokenPipeError:  # the reader of `… | head` has left, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(0)
    except OSError as error:  # a full disk, a missing permission: a traceback would not help the user
        leave(1, f"error: {error.filename or 'the system'}: {error.strerror or error}\n")


def open_streams() -> None:
    """Let stdout and stderr take any character, and what is printed where one is closed be lost."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and stream.errors != "surrogateescape":
            stream.reconfigure(errors="backslashreplace")


def progress_stream() -> TextIO:
    """Where progress bars go: stderr, or the terminal that recipes/utils/run names where stderr is a log."""
    with suppress(OSError):
        if terminal := os.environ.get("IA3_SPEECH_PROGRESS"):
            return Path(terminal).open("w", encoding="utf-8")
    return sys.stderr


class Operand(str):
    """A word behind `--`: no flag."""


class Parser(argparse.ArgumentParser):
    """A parser of what functions take, which gives what stands in the line alone; its errors are one line."""

    def __init__(self, **options: Any):
        options |= {"argument_default": argparse.SUPPRESS, "allow_abbrev": False}
        super().__init__(**options, formatter_class=argparse.RawDescriptionHelpFormatter)
        # Of each parameter and field, what is typed: `--name`, or `name` where its place says it
        self.flags: dict[str, str] = {}
        self.words: list[str] = []  # the line
        for kind, name in NAMES.items():
            self.register("type", name, (lambda word: dict(json.loads(word))) if kind is dict else kind)

    def error(self, message: str) -> NoReturn:
        message, hint = message.removeprefix("argument "), ""
        if message.startswith("unrecognized arguments: --"):
            word = message.split()[2].partition("=")[0].replace("_", "-")
            if (ours := OF_WHISPER.get(word)) in self.flags.values():
                hint = f"Whisper's {word} is {ours} here; "
            elif near := difflib.get_close_matches(word, self.flags.values(), n=1, cutoff=0.7):
                hint = f"did you mean {near[0]}? "
        elif message.startswith("the following arguments are required: ") and "--" not in message:
            takes = {flag for flag, action in self._option_string_actions.items() if action.nargs is None}
            hint = "".join(f"{a} took {b}; " for a, b in pairwise(self.words) if a in takes)
        self.exit(2, f"error: {message} ({hint}--help lists the options)\n")

    def with_dashes(self, words: list[str]) -> list[str]:
        """The words, with dashes in the flags among them; behind `--` there are none."""
        end, dashed = words.index("--") if "--" in words else len(words), []
        for word in words[:end]:
            name, equals, value = word.partition("=")
            flag = name.replace("_", "-")
            dashed.append(f"{flag}{equals}{value}" if flag in self.flags.values() else word)
        return dashed + [Operand(word) for word in words[end + 1 :]]

    def _parse_optional(self, word: str) -> Any:
        """argparse's own forgets `--` where flags may stand between other words."""
        return None if isinstance(word, Operand) else super()._parse_optional(word)

    def add(self, target: Callable | type, group: Any = None) -> None:
        """Add what the parameters of a function, or the fields of a dataclass, stand for."""
        import docstring_parser

        is_class, hints, helps = inspect.isclass(target), get_type_hints(target), {}
        for each in reversed(target.__mro__[:-1]) if is_class else [target]:
            described = docstring_parser.parse_from_object(each).params  # in the docstring, or below a field
            helps |= {p.arg_name: " ".join(p.description.split()) for p in described if p.description}
        fields = {field.name: field for field in dataclasses.fields(target)} if is_class else {}
        for name, parameter in inspect.signature(target).parameters.items():
            hint, default = hints.get(name, str), parameter.default
            if dataclasses.is_dataclass(hint):
                title = description(hint.__doc__).partition("\n")[0].rstrip(".")
                self.add(hint, self.add_argument_group(title))
                continue
            if callable(factory := getattr(fields.get(name), "default_factory", None)):
                default = factory()
            hint = get_args(hint)[0] if get_origin(hint) in (Union, UnionType) else hint  # of X | None
            origin = get_origin(hint)
            kind = get_args(hint)[0] if origin is list else origin or hint
            is_flag = is_class or parameter.kind is parameter.KEYWORD_ONLY or default is not REQUIRED
            self.flags[name] = flag = f"--{name.replace('_', '-')}" if is_flag else name
            options: dict[str, Any] = {"type": NAMES.get(kind, kind)}
            if parameter.kind is parameter.VAR_POSITIONAL:
                options = {"nargs": "*", "metavar": name.removesuffix("s").upper()}
            elif hint is bool:
                options = {"action": "store_true"}
                self.flags[f"no_{name}"] = opposite = f"--no-{flag[2:]}"
                self.add_argument(opposite, dest=name, action="store_false", help=argparse.SUPPRESS)
            elif origin is list:
                options["nargs"] = "*" if is_flag else "+"
            elif origin is Literal:
                options = {"choices": get_args(hint)}
            note = ""
            if default is REQUIRED and is_flag:
                note, options["required"] = " (required)", True
            elif default not in (REQUIRED, False, None, "", [], {}):
                note = f" (default: {' '.join(map(str, default)) if isinstance(default, list) else default})"
            options["help"] = (helps.get(name, "") + note).replace("%", "%%")
            (group or self).add_argument(flag, **options)


def call(run: Callable | dict[str, Callable], words: list[str]) -> Any:
    """Call `run`, or the sub-command that the first word names. Code 2 where `words` do not parse."""
    is_group = isinstance(run, dict)
    if words == ["--flags"]:  # for `ia3-speech completion`
        of_command = {"": flags_with_choices(run) | {"--config": []}} if not is_group else {}
        print(json.dumps(of_command or {name: flags_with_choices(each) for name, each in run.items()}))
        return None
    module = (next(iter(run.values())) if isinstance(run, dict) else run).__globals__
    program = None
    if not sys.argv[0].startswith("ia3-speech ") and (spec := module.get("__spec__")):
        program = f"python -m {spec.name.replace('.commands.', '.')}"
    parser = Parser(prog=program, description=description(module.get("__doc__")))
    if is_group:
        commands = parser.add_subparsers(metavar="COMMAND", required=True)
        for name, function in run.items():
            text = description(function.__doc__)
            commands.add_parser(name, help=text.partition("\n")[0].replace("%", "%%"), description=text)
        parser.parse_args(words[:1])  # --help, no command, or none of this name
        parser, run, words = commands.choices[words[0]], run[words[0]], words[1:]
    else:
        parser.add_argument("--config", metavar="FILE", help="YAML file of options; flags override it")
    parser.add(run)
    words = parser.with_dashes(words)
    if not is_group:
        finder = Parser(add_help=False)
        finder.add_argument("--config")
        if file := vars(finder.parse_known_args(words)[0]).get("config"):
            words = [*configuration(parser, file), f"--config={file}", *words]
    parser.words = words
    given = vars(parser.parse_intermixed_args(words))
    for parameter, kind in get_type_hints(run).items():
        if parameter != "return" and dataclasses.is_dataclass(kind):
            names = [field.name for field in dataclasses.fields(kind) if field.name in given]
            given[parameter] = kind(**{name: given.pop(name) for name in names})
    arguments = inspect.signature(run).bind_partial()
    arguments.arguments |= given
    return run(*arguments.args, **arguments.kwargs)


def flags_with_choices(run: Callable) -> dict[str, list[str] | None]:
    """Its flags → their choices; None where one takes no value. What stands without a flag is at ""."""
    parser = Parser()
    parser.add(run)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return {
        flag: None if action.nargs == 0 else [*(action.choices or ())]
        for action in shown
        for flag in ([f for f in action.option_strings if f.startswith("--")] or [""])
    }


def configuration(parser: Parser, name: str) -> list[str]:
    """The words for the options in a YAML file, or in a configuration that the package contains."""
    import yaml

    file = Path(name) if Path(name).is_file() else CONFIGURATIONS / f"{name}.yaml"
    try:
        content, words = file.read_text("utf-8"), []
        # As they are written too: YAML 1.1 takes off for false, and 0024 for 20.
        options, texts = yaml.safe_load(content), yaml.load(content, yaml.BaseLoader)
    except FileNotFoundError:
        parser.error(
            f"--config: there is no file {name} (the package contains ia3_plus, lora, full …, for train)"
        )
    except (ValueError, yaml.YAMLError) as error:
        parser.error(f"--config: {file}: {error}")
    if not isinstance(options, dict):
        parser.error(f"--config: {file}: holds no options, such as `epochs: 8`")
    for (name, text), value in zip(texts.items(), options.values(), strict=True):
        if not (flag := parser.flags.get(name.replace("-", "_"), "")).startswith("--"):
            parser.error(f"--config: {file}: unknown option {name}")
        if isinstance(value, bool) and (opposite := parser.flags.get(f"no_{name.replace('-', '_')}")):
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


def description(docstring: str | None) -> str:
    """A docstring without the arguments, for argparse."""
    return inspect.cleandoc(docstring or "").partition("\n\nArgs:")[0].partition("\n\nAttributes:")[0]
