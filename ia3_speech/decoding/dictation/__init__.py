"""Dictation: spoken text to written text, by one editable grammar.

    write = DictationOptions().formatter()
    write("no fever comma temperature thirty eight point five degrees full stop")
    # 'No fever, temperature 38.5 °C.'

In: a transcript. Out: the transcript with punctuation, digits, units, dates and capitals. The grammar
(conf/dictation.yaml) lists the rules; each can be switched off. Written text is not changed again: writing
twice is writing once. `ia3-speech dictation` does it to text, `ia3-speech transcribe --dictation` to audio.

Which numbers become digits follows the style of medical records (ten and more, and whatever has a unit), and
how they are written ISMP's list of error-prone dose designations: 0.5 mg never .5 mg, 1,000 units, mcg.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.decoding.dictation.commands import (
    mend_tags,
    replace_phrases,
    start_sentences,
    write_commands,
    write_names,
    write_pronoun,
)
from ia3_speech.decoding.dictation.dates import join_years
from ia3_speech.decoding.dictation.grammar import PACKAGED_GRAMMAR, Grammar, read_grammar
from ia3_speech.decoding.dictation.numbers import write_numbers

Edit = Callable[[str], str]
WORD = r"[$€£°]?[^\W_]+(?:[.,:/'’-][^\W_]+)*[°%]?"
STRETCH = re.compile(rf"(?<![\w$€£°.,:/'’-]){WORD}(?: {WORD})*")  # words with nothing but blanks between
MOST_PASSES = 20  # one pass writes nearly everything; an odd grammar of one's own must not run for ever


@dataclass(frozen=True)
class DictationOptions:
    """Dictation

    Args:
        dictation: write spoken punctuation, numbers, doses, dates and capitals
        dictation_grammar: the rules, a YAML file (default: the package's conf/dictation.yaml)
        dictation_names: text file of names, one a line, that are written as they are there
        dictation_off: rules and commands to leave out, such as ordinals,colon
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

    def formatter(self) -> Callable[[str], str]:
        """Text → written text. The grammar is read once."""
        return make_formatter(self.grammar())


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


def make_formatter(grammar: Grammar) -> Callable[[str], str]:
    """A function that writes text by a grammar, until nothing changes: so it leaves written text alone."""
    edits = make_edits(grammar)

    def write(text: str) -> str:
        text = tidy(text)
        for _ in range(MOST_PASSES):
            before = text
            for edit in edits:
                text = edit(text)
            text = tidy(text)
            if text == before:
                break
        return text

    return write


def make_edits(grammar: Grammar) -> list[Edit]:
    """What one pass does, in order: commands first, since a number does not reach across a comma."""

    def numbers(text: str) -> str:
        if "dates" in grammar.rules:
            text = join_years(text)
        return STRETCH.sub(lambda match: write_numbers(match[0].split(" "), grammar), text)

    made = {
        "braces": mend_tags(grammar),
        "phrases": replace_phrases(grammar),
        "commands": write_commands(grammar),
        "": numbers,
        "names": write_names(grammar.names),
        "pronoun_i": write_pronoun,
        "sentence_starts": start_sentences(grammar),
    }
    return [edit for name, edit in made.items() if edit and (not name or name in grammar.rules)]


def tidy(text: str) -> str:
    """Single blanks, none at the ends of lines, at most one empty line in a row, none around the text."""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
