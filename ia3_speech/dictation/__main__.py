"""Write dictated text: spoken punctuation, numbers, doses, dates and capitals; text in, text out.

    ia3-speech dictation notes.txt                             the written text
    echo "five hundred milligrams twice a day" | ia3-speech dictation
    ia3-speech dictation --lower --dictation-off colon a.txt   of a text in capitals; colon is a word

Each line is a text of its own. With several files their texts follow one another. The rules are those of
`ia3-speech transcribe --dictation`; the package's conf/dictation.yaml lists them.
"""

import sys
from pathlib import Path

from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.dictation import DictationOptions

STDIN = "-"


def main(
    *files: str,
    dictation_grammar: Path | None = None,
    dictation_names: Path | None = None,
    dictation_off: str = "",
    lower: bool = False,
    raw: bool = False,
) -> None:
    """Write dictated text.

    Args:
        files: text files (default: stdin)
        dictation_grammar: the rules, a YAML file (default: the package's conf/dictation.yaml)
        dictation_names: text file of names, one a line, that are written as they are there
        dictation_off: rules and commands to leave out, such as ordinals,colon
        lower: make the text lower case first, for transcripts in capitals
        raw: print RAW<TAB>WRITTEN, a line a line; a line break that was dictated is then ⏎
    """
    options = DictationOptions(True, dictation_grammar, dictation_names, dictation_off)
    write = options.formatter()
    for file in files or (STDIN,):
        for line in (sys.stdin.read() if file == STDIN else read_text(Path(file))).splitlines():
            written = write(line.lower() if lower else line)
            print(f"{line.strip()}\t{written.replace(chr(10), '⏎')}" if raw else written)


def read_text(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file (a text file, or - for stdin)")
    return read_utf8(path)


if __name__ == "__main__":
    command(main)
