"""Write dictated text with punctuation, doses, blood pressures and capitals.

    ia3-speech dictation notes.txt                             prints the written text
    echo "five hundred milligrams twice a day" | ia3-speech dictation
    ia3-speech dictation --dictation-rules clinic.yaml --raw notes.txt    tries your rules on your texts

Each line is a separate text. Text has no pauses, so commands that need them (comma, period, new line) stay
words; `ia3-speech transcribe --dictation` knows the pauses.
"""

import sys
from pathlib import Path

from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.dictation import make_dictation


def main(
    *files: str, dictation_rules: Path | None = None, dictation_off: str = "", raw: bool = False
) -> None:
    """Write dictated text.

    Args:
        files: text files (default: stdin)
        dictation_rules: YAML file with your rules, names, units and commands (docs/dictation.md)
        dictation_off: parts (commands, numbers, names) or single commands to switch off, such as
            "numbers,full stop"
        raw: print RAW<TAB>WRITTEN for each input line; a line break that was dictated is shown as ⏎
    """
    dictation = make_dictation(dictation_rules, dictation_off)
    for file in files or ("-",):
        lines = sys.stdin or ()  # as they come
        if file != "-":
            lines = read_utf8(Path(file), "a text file, or - for stdin").splitlines()
        try:
            for line in lines:
                written = dictation.write(line.rstrip("\r\n"))
                print(f"{line.strip()}\t{written.replace(chr(10), '⏎')}" if raw else written, flush=True)
        except UnicodeDecodeError:
            raise UserError("stdin: not UTF-8 (convert it, for example with iconv -f LATIN1)") from None
