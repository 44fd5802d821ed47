"""Dictation: spoken text to written text: punctuation, doses, blood pressures and capitals.

    dictation = make_dictation()
    dictation.write("temperature thirty eight point five degrees celsius full stop no cough")
    # 'Temperature 38.5 °C. No cough'

Ambiguous words stay words: a wrong dose is worse than a dose in words. A reader of the written text speaks
the same words again. conf/dictation.yaml lists commands, units and names.
"""

from pathlib import Path

from ia3_speech.dictation.grammar import read_grammar
from ia3_speech.dictation.writer import Dictation


def make_dictation(rules: Path | None = None, off: str = "") -> Dictation:
    """The dictation of the package's grammar, to which the sections of a YAML file, `rules`, are added. `off`
    are parts and commands that are left out, with commas between, such as "numbers,full stop". Raises
    UserError if the file can't be used, or there is no such part."""
    grammar = read_grammar()
    if rules is not None:
        grammar = grammar.extended(read_grammar(rules))
    names = (" ".join(name.lower().split()) for name in off.split(",") if name.strip())
    return Dictation(grammar.without(names))
