"""Dictation: spoken text to written text: punctuation, doses, blood pressures and capitals.

    dictation = make_dictation()
    dictation.write("temperature thirty eight point five degrees celsius full stop no cough")
    # 'Temperature 38.5 °C. No cough'

In: the words of a transcript, with times. Out: pieces of written text (`segments.PostProcessor`). Whatever
can be read in two ways stays in words: a wrong dose is worse than a spoken one. So what is written, read
aloud again, gives the words that were spoken. conf/dictation.yaml lists commands, units and names.
"""

from pathlib import Path

from ia3_speech.decoding.segments import written_text
from ia3_speech.decoding.transcript import Word
from ia3_speech.dictation.grammar import Grammar, read_grammar
from ia3_speech.dictation.writer import DictationWriter, Tables


class Dictation:
    """The post-processor of a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self.tables = Tables(grammar)

    def start(self) -> DictationWriter:
        return DictationWriter(self.tables)

    def write(self, text: str) -> str:
        """What is written of a text without times: no pause is known but those around it."""
        return written_text([Word(word, 0.0, 0.0, 1.0) for word in text.split()], self)


def make_dictation(rules: Path | None = None, off: str = "") -> Dictation:
    """The dictation of the package's grammar.

    Args:
        rules: a YAML file whose sections are added to it.
        off: parts and commands that are left out, with commas between, such as "numbers,full stop".

    Raises:
        UserError: the file can't be used, or there is no such part.
    """
    grammar = read_grammar()
    if rules is not None:
        grammar = grammar.extended(read_grammar(rules))
    return Dictation(
        grammar.without(" ".join(name.lower().split()) for name in off.split(",") if name.strip())
    )
