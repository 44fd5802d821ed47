"""The grammar of dictation: a YAML file that says which words are commands, units and names.

In: `ia3_speech/conf/dictation.yaml`, and perhaps a file of rules that a user has written. Out: a `Grammar`,
checked. What is wrong with a file is an error that names it and the line.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import yaml

from ia3_speech.cli import CONFIGURATIONS, UserError
from ia3_speech.data.kaldi.table_file import read_utf8

PACKAGED_GRAMMAR = CONFIGURATIONS / "dictation.yaml"
NUMBER = "{number}"
PARTS = {  # that can be switched off, and their sections
    "commands": {"commands": {}, "between_pauses": {}},
    "numbers": {"units": {}, "counted": (), "blood_pressure": ()},
    "names": {"names": ()},
}


@dataclass(frozen=True)
class Grammar:
    """What conf/dictation.yaml holds; its comments say what each section does. Phrases are in lower case."""

    commands: dict[str, str] = field(default_factory=dict)
    not_after: tuple[str, ...] = ()
    between_pauses: dict[str, str] = field(default_factory=dict)
    units: dict[str, tuple[str, ...]] = field(default_factory=dict)
    per: dict[str, str] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    blood_pressure: tuple[str, ...] = ()
    no_unit: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    connectives: tuple[str, ...] = ()
    rules: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()

    def extended(self, other: "Grammar") -> "Grammar":
        """This grammar with the sections of another: what both have is written as the other says."""
        sections = {}
        for section in fields(self):
            mine, new = getattr(self, section.name), getattr(other, section.name)
            sections[section.name] = mine | new if isinstance(mine, dict) else mine + new
        for phrase in other.commands:  # a user may take a command without its pauses
            sections["between_pauses"].pop(phrase, None)
        return Grammar(**sections)

    def without(self, names: Iterable[str]) -> "Grammar":
        """The grammar without these parts, and commands.

        Raises:
            UserError: a name is neither of `PARTS` nor a command.
        """
        grammar = self
        for name in names:
            if name not in (*PARTS, *self.commands, *self.between_pauses):
                raise UserError(
                    f"--dictation-off: {name!r} is no part and no command (parts: {', '.join(PARTS)}; a "
                    f"command is named by its words, such as full stop)"
                )
            tables = {table: getattr(grammar, table) for table in PARTS["commands"]}
            rest = {
                table: {k: v for k, v in phrases.items() if k != name} for table, phrases in tables.items()
            }
            grammar = replace(grammar, **PARTS.get(name, rest))
        return grammar


def read_grammar(path: Path = PACKAGED_GRAMMAR) -> Grammar:
    """Read and check a grammar.

    Raises:
        UserError: the file is missing, is no YAML, or holds what a grammar cannot.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file (a YAML file with sections as in {PACKAGED_GRAMMAR})")
    try:
        root = yaml.compose(read_utf8(path), yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: {getattr(error, 'problem', None) or error} (is it YAML?)") from None

    # Nodes have the texts as they are written (`no` is no bool, `1` no number) and their lines.
    def fail(node: yaml.Node, message: str) -> None:
        raise UserError(f"{path}:{node.start_mark.line + 1}: {message}")

    def text(node: yaml.Node, *, spoken: bool = False) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            fail(node, "a text is expected here (write it in quotation marks)")
        return " ".join(node.value.lower().split()) if spoken else node.value

    def texts(node: yaml.Node, *, spoken: bool = True) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            fail(node, "a list of words is expected here, such as [milligram, milligrams]")
        return tuple(text(item, spoken=spoken) for item in node.value)

    def rule(spoken: yaml.Node, written: yaml.Node) -> tuple[str, str]:
        phrase = text(spoken, spoken=True)
        slots = phrase.count("{")
        if not slots == phrase.split().count(NUMBER) == text(written).count(NUMBER):
            fail(spoken, f"{phrase!r} and {written.value!r} need {NUMBER}, as a word, equally often")
        return phrase, written.value

    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: holds no grammar (a YAML file with sections as in {PACKAGED_GRAMMAR})")
    known = {section.name: section for section in fields(Grammar)}
    sections = {}
    for name, node in root.value:
        if name.value not in known:
            fail(name, f"there is no section {name.value!r} (sections: {', '.join(known)})")
        if known[name.value].default == ():
            sections[name.value] = texts(node, spoken=name.value != "names")
            continue
        if not isinstance(node, yaml.MappingNode):
            fail(node, f"{name.value}: a mapping is expected here, such as a b: c")
        if name.value == "units":
            sections["units"] = {text(symbol): texts(forms) for symbol, forms in node.value}
        elif name.value == "rules":
            sections["rules"] = dict(rule(spoken, written) for spoken, written in node.value)
        else:
            sections[name.value] = {text(key, spoken=True): text(written) for key, written in node.value}
    return Grammar(**sections)
