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
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, get_type_hints


class UserError(Exception):
    """Something the user can put right. The message names the file, the line and the cure."""


def command(run: Callable | dict[str, Callable], argv: list[str] | None = None, **options: Any) -> None:
    """Parse the command line for `run` (a function, or a dictionary of sub-commands), call it, exit.

    A function of one dataclass gets that dataclass's fields as flags, and `--config FILE` (YAML): a flag
    goes before the file, the file before the default. `run` may return an exit code (int); None is 0. Flags take dashes or underscores alike; a flag of type
    bool stands alone (`--check-audio`) or takes true or false.
    """
    import jsonargparse

    set_up_logging()
    options.setdefault("as_positional", True)
    arguments = [dashes_to_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    options_class = only_dataclass(run)
    arguments = spell_out(arguments, set(switches(options_class or run)))
    try:
        if options_class:
            code = run(parse(options_class, arguments))
        else:
            code = jsonargparse.auto_cli(run, args=arguments, fail_untyped=False, **options)
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


def only_dataclass(run: Callable | dict[str, Callable]) -> type | None:
    """The dataclass that is the one parameter of `run`, if it is such a function."""
    if isinstance(run, dict):
        return None
    hints = list(inspect.get_annotations(run, eval_str=True).items())
    taken = [hint for name, hint in hints if name != "return"]
    return taken[0] if len(taken) == 1 and dataclasses.is_dataclass(taken[0]) else None


def parse(options_class: type, arguments: list[str]) -> Any:
    """An instance of the dataclass from flags and `--config`. Exits with code 2 on bad flags."""
    import jsonargparse

    class Formatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        """Types and defaults by jsonargparse, the module docstring's line breaks as they are."""

    module = sys.modules[options_class.__module__]
    parser = jsonargparse.ArgumentParser(
        prog=f"python -m {module.__spec__.name}" if getattr(module, "__spec__", None) else None,
        description=(module.__doc__ or "").strip(),
        formatter_class=Formatter,
    )
    parser.add_argument("--config", action="config", help="YAML file of options; flags go before it")
    parser.add_class_arguments(options_class, as_group=False)
    namespace = parser.parse_args(arguments)
    names = [field.name for field in dataclasses.fields(options_class)]
    return options_class(**{name: getattr(namespace, name) for name in names})


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


def set_up_logging() -> None:
    """Messages to stderr, so that stdout holds results alone; third parties only when something is wrong."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("ia3_speech").setLevel(logging.INFO)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
