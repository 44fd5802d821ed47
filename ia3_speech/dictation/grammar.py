"""The grammar of dictation: a YAML file that says which words are commands, units and names.

In: `ia3_speech/conf/dictation.yaml`, and perhaps a file of rules that a user has written. Out: a `Grammar`,
checked. What is wrong with a file is an error that names it and the line.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import yaml

from ia3_speech.cli import PACKAGED_CONFIGURATIONS, UserError
from ia3_speech.data.kaldi.table_file import read_utf8

PACKAGED_GRAMMAR = PACKAGED_CONFIGURATIONS / "dictation.yaml"
NUMBER = "{number}"
PARTS = ("commands", "numbers", "rules", "names", "capitals")  # that can be switched off


@dataclass(frozen=True)
class Grammar:
    """What conf/dictation.yaml holds; its comments say what each section does. All phrases are in lower case.

    Attributes:
        off: the parts of `PARTS` that are switched off.
    """

    commands: dict[str, str] = field(default_factory=dict)
    not_after: tuple[str, ...] = ()
    between_pauses: dict[str, str] = field(default_factory=dict)
    units: dict[str, tuple[str, ...]] = field(default_factory=dict)
    per: dict[str, str] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    no_unit: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    connectives: tuple[str, ...] = ()
    rules: dict[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    off: frozenset[str] = frozenset()

    def extended(self, other: "Grammar") -> "Grammar":
        """This grammar with the sections of another: what both have is written as the other says."""
        sections = {}
        for section in fields(self):
            mine, new = getattr(self, section.name), getattr(other, section.name)
            sections[section.name] = mine | new if isinstance(mine, dict | frozenset) else mine + new
        for phrase in other.commands:  # a user may take a command without its pauses
            sections["between_pauses"].pop(phrase, None)
        return Grammar(**sections)

    def without(self, names: Iterable[str]) -> "Grammar":
        """The grammar without these parts, and commands.

        Raises:
            UserError: a name is neither of `PARTS` nor a command.
        """
        names = set(names)
        if unknown := sorted(names - {*PARTS, *self.commands, *self.between_pauses}):
            raise UserError(
                f"--dictation-off: {unknown[0]!r} is no part and no command (parts: {', '.join(PARTS)}; a "
                f"command is named by its words, such as full stop)"
            )
        commands, between_pauses = (
            {phrase: written for phrase, written in table.items() if phrase not in names}
            for table in (self.commands, self.between_pauses)
        )
        off = frozenset(names & set(PARTS))
        return replace(self, commands=commands, between_pauses=between_pauses, off=off)


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

    def command(node: yaml.Node) -> str:
        if re.search(r"\w", text(node)):
            fail(node, f"{node.value!r} holds letters or digits (a command writes a mark; see rules)")
        return node.value

    def rule(spoken: yaml.Node, written: yaml.Node) -> tuple[str, str]:
        phrase = text(spoken, spoken=True)
        if phrase.split().count(NUMBER) != phrase.count("{") or phrase.count("{") != text(written).count(
            NUMBER
        ):
            fail(spoken, f"{phrase!r} and {written.value!r} need {NUMBER}, as a word, equally often")
        return phrase, written.value

    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: holds no grammar (a YAML file with sections as in {PACKAGED_GRAMMAR})")
    known = {section.name: section for section in fields(Grammar) if section.name != "off"}
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
            write = text if name.value == "per" else command
            sections[name.value] = {text(spoken, spoken=True): write(node) for spoken, node in node.value}
    return Grammar(**sections)
