"""The grammar of dictation: the YAML file that says which words are commands, units, names and so on.

In: `ia3_speech/conf/dictation.yaml`, or a copy of it that somebody edited. Out: a `Grammar`, checked. What a
file leaves out is empty; what is not known is an error that names the file and, where it can, the line.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ia3_speech.cli import CONFIGURATIONS, UserError
from ia3_speech.data.kaldi.table_file import read_utf8

PACKAGED_GRAMMAR = CONFIGURATIONS / "dictation.yaml"
RULES = (
    *("phrases", "braces", "commands", "dates", "times", "years", "over", "ratios", "ranges", "units"),
    *("temperature", "currencies", "counted", "labels", "codes", "letters", "digits", "ordinals"),
    *("cardinals", "pronoun_i", "names", "sentence_starts"),
)


@dataclass(frozen=True)
class Command:
    """A spoken command.

    Attributes:
        say: the phrases, in lower case.
        write: the character that is written; "\\n" is a line break.
        joins: on which sides no blank stands.
        not_after: phrases before it that make it a plain word.
        not_before: phrases behind it that do.
    """

    say: tuple[str, ...]
    write: str
    joins: Literal["left", "right", "both", "none"] = "none"
    not_after: tuple[str, ...] = ()
    not_before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Temperature:
    """Which bare degrees are temperatures; bounds are inclusive."""

    celsius: tuple[float, float] = (0.0, 0.0)
    fahrenheit: tuple[float, float] = (0.0, 0.0)
    words: tuple[str, ...] = ()
    angles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grammar:
    """What conf/dictation.yaml holds; its comments say what each part does."""

    rules: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    phrases: dict[str, str] = field(default_factory=dict)
    units: dict[str, tuple[str, ...]] = field(default_factory=dict)
    joined: tuple[str, ...] = ()
    per: dict[str, str] = field(default_factory=dict)
    temperature: Temperature = Temperature()
    currencies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    counted_from_one: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    letters: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()

    @cached_property
    def unit_forms(self) -> dict[tuple[str, ...], str]:
        """The words of a spoken unit → its symbol."""
        return {tuple(form.split()): symbol for symbol, forms in self.units.items() for form in forms}

    @cached_property
    def currency_forms(self) -> dict[str, str]:
        return {form: symbol for symbol, forms in self.currencies.items() for form in forms}

    @cached_property
    def counted_words(self) -> frozenset[str]:
        return frozenset((*self.counted, *self.counted_from_one))

    def without(self, names: list[str], where: str) -> "Grammar":
        """The grammar without these rules and commands.

        Raises:
            UserError: a name is neither a rule nor a phrase of a command.
        """
        said = {phrase for command in self.commands for phrase in command.say}
        for name in names:
            if name not in RULES and name not in said:
                raise UserError(
                    f"{where}: {name!r} is no rule and no command (rules: {', '.join(RULES)}; a command is "
                    f"named by its phrase, such as period)"
                )
        rest = [replace(one, say=tuple(p for p in one.say if p not in names)) for one in self.commands]
        rules = tuple(rule for rule in self.rules if rule not in names)
        return replace(self, rules=rules, commands=tuple(one for one in rest if one.say))


def read_grammar(path: Path = PACKAGED_GRAMMAR) -> Grammar:
    """Read and check a grammar.

    Raises:
        UserError: the file is missing, is no YAML, or holds what a grammar cannot.
    """
    import yaml

    if not path.is_file():
        raise UserError(f"{path}: no such file (copy {PACKAGED_GRAMMAR} and edit the copy)")
    text = read_utf8(path)
    try:
        found = yaml.load(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: {getattr(error, 'problem', None) or error} (is it YAML?)") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no grammar (copy {PACKAGED_GRAMMAR} and edit the copy)")

    def fail(key: Any, message: str) -> None:
        word = re.compile(rf"\b{re.escape(str(key))}\b")
        lines = [line.partition("#")[0] for line in text.splitlines()]
        line = next((number for number, one in enumerate(lines, 1) if word.search(one)), None)
        raise UserError(f"{path}:{line}: {message}" if line else f"{path}: {message}")

    return check_phrases(make(Grammar, found, fail), fail)


def make(kind: type, found: Any, fail: Callable[[Any, str], None]) -> Any:
    """A dataclass from a mapping of YAML, with the types of its fields' defaults."""
    if not isinstance(found, dict):
        fail(found, f"{found!r} is no mapping of {', '.join(one.name for one in fields(kind))}")
    known = {one.name: one for one in fields(kind)}
    values = {}
    for key, value in found.items():
        if key not in known:
            fail(key, f"unknown key {key!r} (known: {', '.join(known)})")
        values[key] = checked(key, value, fail)
    if kind is Command and not {"say", "write"} <= {*values}:
        fail(found.get("say", ["commands"])[0], f"a command needs say and write, and {found} lacks one")
    return kind(**values)


def checked(key: str, value: Any, fail: Callable[[Any, str], None]) -> Any:
    """The value of one key of a grammar, as its dataclass holds it."""
    if value is None:
        fail(key, f"{key}: is empty (delete the line, or write [] or {{}})")
    if key == "temperature":
        return make(Temperature, value, fail)
    if key == "commands":
        if not isinstance(value, list):
            fail(key, "commands: is no list")
        return tuple(make(Command, one, fail) for one in value)
    if key in ("celsius", "fahrenheit"):
        if not (isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value)):
            fail(key, f"{key}: {value!r} is not two numbers such as [34, 43]")
        return tuple(map(float, value))
    if key == "joins" and value not in ("left", "right", "both", "none"):
        fail(value, f"joins: {value!r} is none of left, right, both, none")
    if key in ("write", "joins"):
        if not isinstance(value, str) or not value:
            fail(key, f"{key}: {value!r} is no text (write it in quotation marks)")
        return value
    if key in ("phrases", "per"):
        if not isinstance(value, dict) or not all(isinstance(v, str) for pair in value.items() for v in pair):
            fail(
                key, f"{key}: is no mapping of texts such as x ray: X-ray (write yes, no, numbers in quotes)"
            )
        return {" ".join(spoken.lower().split()): written for spoken, written in value.items()}
    if key in ("units", "currencies"):
        if not isinstance(value, dict):
            fail(key, f"{key}: is no mapping of lists such as mg: [milligram, milligrams]")
        return {str(symbol): phrases(symbol, forms, fail) for symbol, forms in value.items()}
    found = phrases(key, value, fail, lower=key not in ("names", "letters", "joined"))
    if key == "rules" and (unknown := [rule for rule in found if rule not in RULES]):
        fail(unknown[0], f"there is no rule {unknown[0]!r} (rules: {', '.join(RULES)})")
    return found


def phrases(key: str, value: Any, fail: Callable[[Any, str], None], lower: bool = True) -> tuple[str, ...]:
    """A list of phrases with single blanks."""
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(one, str) and one.strip() for one in value)
    ):
        fail(key, f"{key}: {value!r} is no list of words (put true, no, on and numbers into quotation marks)")
    return tuple(" ".join((one.lower() if lower else one).split()) for one in value)


def check_phrases(grammar: Grammar, fail: Callable[[Any, str], None]) -> Grammar:
    """Refuse phrases that would be replaced without end, and commands that write words."""
    for spoken, written in grammar.phrases.items():
        for other, result in grammar.phrases.items():
            again = re.search(rf"(?<![\w'-]){re.escape(other)}(?![\w'-])", written.lower())
            if again and (again[0] != written.lower() or result != written):
                fail(
                    spoken, f"phrases: {written!r} holds the phrase {other!r}, which would be replaced again"
                )
    for command in grammar.commands:
        if any(character.isalnum() for character in command.write):
            fail(command.say[0], f"write: {command.write!r} holds letters or digits (use phrases for words)")
    return grammar
