"""The grammar of dictation: a YAML file that lists commands, units and names; the user's rules are added."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import NoReturn

import yaml

from ia3_speech.common.cli import CONFIGURATIONS
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.table_file import read_utf8

PACKAGED_GRAMMAR = CONFIGURATIONS / "dictation.yaml"
NUMBER = "{number}"
PARTS = {  # parts that can be switched off → their sections
    "commands": {"commands": {}, "between_pauses": {}},
    "numbers": {"units": {}, "counted": (), "blood_pressure": ()},
    "names": {"names": ()},
}


@dataclass(frozen=True)
class Grammar:
    """The sections of conf/dictation.yaml, whose comments explain them. Phrases are in lower case."""

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
        """This grammar with the sections of `other`, which take precedence."""
        sections = {}
        for section in fields(self):
            old, new = getattr(self, section.name), getattr(other, section.name)
            sections[section.name] = old | new if isinstance(old, dict) else old + new
        for phrase in other.commands:  # a user may take a command without its pauses
            sections["between_pauses"].pop(phrase, None)
        return Grammar(**sections)

    def without(self, names: Iterable[str]) -> "Grammar":
        """The grammar without parts and commands."""
        grammar = self
        for name in names:
            if name not in (*PARTS, *self.commands, *self.between_pauses):
                hint = f"parts: {', '.join(PARTS)}; a command is named by its words, such as full stop"
                raise UserError(f"`dictation_off`: {name!r} is neither a part nor a command ({hint})")
            rest = {
                table: {phrase: mark for phrase, mark in getattr(grammar, table).items() if phrase != name}
                for table in PARTS["commands"]
            }
            grammar = replace(grammar, **PARTS.get(name, rest))
        return grammar


def read_grammar(path: Path = PACKAGED_GRAMMAR) -> Grammar:
    """Read and check a grammar. Raises UserError."""
    text_of_file = read_utf8(path, f"a YAML file with sections as in {PACKAGED_GRAMMAR}")
    try:
        root = yaml.compose(text_of_file, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML: {error}") from None

    # Nodes have the texts as they are written (`no` is no bool, `1` no number) and their lines.
    def fail(node: yaml.Node, message: str) -> NoReturn:
        raise UserError(f"{path}:{node.start_mark.line + 1}: {message}")

    def text(node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip(" "):
            fail(node, "a text is expected here (write it in quotation marks)")
        return node.value

    def name(node: yaml.Node) -> str:
        return " ".join(text(node).split()) or fail(node, "a word is expected here")

    def phrase(node: yaml.Node) -> str:
        return name(node).lower()

    def words(node: yaml.Node, read: Callable[[yaml.Node], str] = phrase) -> tuple[str, ...]:
        if not isinstance(node, yaml.SequenceNode):
            fail(node, "a list of words is expected here, such as [milligram, milligrams]")
        return tuple(map(read, node.value))

    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: holds no grammar (a YAML file with sections as in {PACKAGED_GRAMMAR})")
    known = {section.name: section for section in fields(Grammar)}
    sections = {}
    for key, node in root.value:
        section = text(key)
        if section not in known:
            fail(key, f"there is no section {section!r} (sections: {', '.join(known)})")
        if known[section].default == ():
            sections[section] = words(node, name if section == "names" else phrase)
        elif not isinstance(node, yaml.MappingNode):
            fail(node, f"{section}: a mapping is expected here, such as a b: c")
        elif section == "units":
            sections[section] = {text(symbol): words(forms) for symbol, forms in node.value}
        else:
            sections[section] = {phrase(spoken): text(written) for spoken, written in node.value}
            for spoken, written in node.value if section == "rules" else ():
                slots = spoken.value.count("{")
                if not slots == phrase(spoken).split().count(NUMBER) == text(written).count(NUMBER):
                    fail(spoken, f"{spoken.value!r} and its text need {NUMBER}, as a word, equally often")
    return Grammar(**sections)
