"""Dictation: spoken text to written text, by one editable grammar.

    write = DictationOptions().formatter()
    write("no fever comma temperature thirty eight point five degrees full stop")
    # 'No fever, temperature 38.5 °C.'

In: a transcript. Out: the transcript with punctuation, digits, units, dates and capitals. The grammar
(conf/dictation.yaml) lists the rules; each can be switched off. Written text is not changed again: writing
twice is writing once. `ia3-speech dictation` does it to text, `ia3-speech transcribe --dictation` to audio,
whose segments each get what was written of their words (`Writer.pieces`).

Which numbers become digits follows the style of medical records (ten and more, and whatever has a unit), and
how they are written ISMP's list of error-prone dose designations: 0.5 mg never .5 mg, 1,000 units, mcg.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.dictation.commands import (
    mend_tags,
    replace_phrases,
    start_sentences,
    write_commands,
    write_names,
    write_pronoun,
)
from ia3_speech.dictation.dates import join_years
from ia3_speech.dictation.edits import Edit, Tracked, substitute
from ia3_speech.dictation.grammar import PACKAGED_GRAMMAR, Grammar, read_grammar
from ia3_speech.dictation.numbers import may_begin, number_changes

WORD = r"[$€£°]?[^\W_]+(?:[.,:/'’-][^\W_]+)*[°%]?"
STRETCH = re.compile(rf"(?<![\w$€£°.,:/'’-]){WORD}(?: {WORD})*")  # words with nothing but blanks between
MOST_PASSES = 20  # one pass writes nearly everything; an odd grammar of one's own must not run for ever


@dataclass(frozen=True)
class DictationOptions:
    """Dictation

    Args:
        dictation: write spoken punctuation, numbers, doses, dates and capitals, in any format: "thirty eight
            point five degrees full stop" → "38.5 °C."
        dictation_grammar: the rules, a YAML file: an edited copy of the default (default: the package's
            conf/dictation.yaml)
        dictation_names: text file of names, one a line, that are written as they are there
        dictation_off: rules and commands to leave out, with commas between, such as ordinals,colon; the
            grammar lists them
    """

    dictation: bool = False
    dictation_grammar: Path | None = None
    dictation_names: Path | None = None
    dictation_off: str = ""  # no list: a list would take the files behind it

    def check(self) -> None:
        """Raises UserError for a file that cannot be used and for a rule that there is not."""
        self.grammar()

    def grammar(self) -> Grammar:
        """The grammar with the names added and without what is switched off."""
        grammar = read_grammar(self.dictation_grammar or PACKAGED_GRAMMAR)
        off = [" ".join(one.lower().split()) for one in self.dictation_off.split(",") if one.strip()]
        grammar = grammar.without(off, "--dictation-off")
        if self.dictation_names is None:
            return grammar
        return replace(grammar, names=(*grammar.names, *read_names(self.dictation_names)))

    def formatter(self) -> "Writer":
        """Text → written text. The grammar is read once."""
        return Writer(self.grammar())


def read_names(path: Path) -> list[str]:
    """Names of a text file, one a line; lines that begin with # are comments.

    Raises:
        UserError: the file is missing, is not UTF-8, or a line holds no letter.
    """
    if not path.is_file():
        raise UserError(f"--dictation-names {path}: no such file (a text file with a name a line)")
    names = []
    for number, line in enumerate(read_utf8(path).splitlines(), 1):
        name = " ".join(line.split())
        if name and not name.startswith("#"):
            if not re.search(r"[^\W\d_]", name):
                raise UserError(f"{path}:{number}: {name!r} holds no letter")
            names.append(name)
    return names


@dataclass(frozen=True)
class Piece:
    """A part of written text, and the spoken words that it was written of.

    Attributes:
        text: one written word with its punctuation, or several of one number; with the white space behind.
        anchor: the number of the first spoken word that its letters or digits were written of.
        end: the number of the first spoken word of the next piece.
    """

    text: str
    anchor: int
    end: int


class Writer:
    """Writes text by a grammar, until nothing changes: so it leaves written text alone."""

    def __init__(self, grammar: Grammar) -> None:
        self.edits = make_edits(grammar)

    def __call__(self, text: str) -> str:
        return self.write(Tracked.of([text])).text

    def write(self, text: Tracked) -> Tracked:
        text = tidy(text)
        for _ in range(MOST_PASSES):
            before = text.text
            for edit in self.edits:
                text = edit(text)
            text = tidy(text)
            if text.text == before:
                break
        return text

    def pieces(self, words: Sequence[str]) -> list[Piece]:
        """What is written of words: pieces whose texts, joined, are the written text, and which share out the
        words in their order. A command belongs to the piece that it stands at.

        "no fever full stop open bracket five hundred milligrams close bracket" → "No " (no), "fever. " (fever
        full stop), "(500 mg)" (open … bracket; its anchor is five).
        """
        written = self.write(Tracked.of(words))
        found: list[tuple[str, int, int]] = []  # text, first word, anchor
        for match in re.finditer(r"\S+\s*", written.text):
            start, end = match.span()
            text, first, anchor = found[-1] if found else ("", -1, -1)
            own = next((written.words[i] for i in range(start, end) if written.text[i].isalnum()), None)
            if found and own in (None, anchor):
                found[-1] = text + match[0], first, anchor
            else:
                first = max(written.words[start], anchor + 1)
                found.append((match[0], first, first if own is None else own))
        ends = [*(first for _, first, _ in found[1:]), len(words)]
        return [Piece(text, anchor, end) for (text, _, anchor), end in zip(found, ends, strict=False)]


def is_plain(word: str) -> bool:
    """Whether a spoken word can belong to no number: what stands behind many of them changes nothing before
    them."""
    return not may_begin(word.lower())


def make_edits(grammar: Grammar) -> list[Edit]:
    """What one pass does, in order: commands first, since a number does not reach across a comma."""

    def numbers(text: Tracked) -> Tracked:
        if "dates" in grammar.rules:
            text = join_years(text)
        stretches = STRETCH.finditer(text.text)
        return text.changed(change for m in stretches for change in number_changes(m[0], m.start(), grammar))

    made = {
        "braces": mend_tags(grammar),
        "phrases": replace_phrases(grammar),
        "commands": write_commands(grammar),
        "": numbers,
        "names": write_names(grammar.names),
        "pronoun_i": write_pronoun(),
        "sentence_starts": start_sentences(grammar),
    }
    return [edit for name, edit in made.items() if edit and (not name or name in grammar.rules)]


TIDY = (
    substitute(
        re.compile(r"(?m)(^[^\S\n]+|[^\S\n]+$)|[^\S\n]{2,}|[^\S\n ]"),
        lambda match: " " if match[1] is None else "",
    ),
    substitute(re.compile(r"\n{3,}"), lambda match: "\n\n"),
    substitute(re.compile(r"\A\n+|\n+\Z"), lambda match: ""),
)


def tidy(text: Tracked) -> Tracked:
    """Single blanks, none at the ends of lines, at most one empty line in a row, none around the text."""
    for edit in TIDY:
        text = edit(text)
    return text
