r"""ARPA files, gzipped or not: the text format of back-off n-gram models, SRILM's ngram-format(5).

    \data\
    ngram 1=4
    ngram 2=2

    \1-grams:
    -0.69897	yes	-0.30103        log10 p(yes), the word, log10 of its back-off weight
    ...
"""

import gzip
import math
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ia3_speech.common import atomic
from ia3_speech.common.errors import UserError
from ia3_speech.lm.ngram import END, NEVER, SPECIAL, UNKNOWN, NgramModel, Order


def write_arpa(model: NgramModel, path: Path | str, *, digits: int = 4) -> None:
    """Write an ARPA file, gzipped if its name ends in .gz, with `digits` after the decimal point."""
    texts = np.array(model.vocabulary, dtype=object)  # of the n-grams of each length in turn
    with atomic.replacing(path) as new:
        opened = gzip.GzipFile(new, "wb", mtime=0) if str(path).endswith(".gz") else new.open("wb")
        with opened as out:
            sizes = "".join(f"ngram {length}={len(order)}\n" for length, order in enumerate(model.orders, 1))
            out.write(f"\\data\\\n{sizes}".encode())
            for length, order in enumerate(model.orders, 1):
                if length > 1:
                    texts = texts[order.history] + " " + np.array(model.vocabulary, object)[order.word]
                out.write(f"\n\\{length}-grams:\n".encode())
                rows = zip(order.log_probability.tolist(), texts, order.log_backoff.tolist(), strict=True)
                for p, text, backoff in rows:
                    is_history = length < len(model.orders) and text != SPECIAL[END]
                    weight = f"\t{format_log(backoff, digits)}" if is_history else ""
                    out.write(f"{format_log(p, digits)}\t{text}{weight}\n".encode())
            out.write(b"\n\\end\\\n")


def format_log(value: float, digits: int) -> str:
    """A logarithm in few characters: −0.5000 → -0.5, −0 → 0."""
    value = value if math.isfinite(value) else NEVER
    return f"{round(value, digits) + 0.0:.{digits}f}".rstrip("0").rstrip(".")


def read_arpa(path: Path | str) -> NgramModel:
    """Read an ARPA file, gzipped or not. Raises UserError if it is not an ARPA file, ends early, or contains
    an n-gram without its history."""
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            sections = parse_arpa(path, lines)
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error} (ia3-speech lm estimates a model)") from error
    vocabulary = [*SPECIAL, *(word for _, word, _ in sections[0] if word not in SPECIAL)]
    model = NgramModel(vocabulary, [])
    for length, rows in enumerate(sections, 1):
        ids = [[model.ids.get(word, UNKNOWN) for word in text.split(" ")] for _, text, _ in rows]
        words = np.array(ids, np.int64).reshape(-1, length)
        logs = np.array([[p, backoff] for p, _, backoff in rows]).reshape(-1, 2).T
        if length == 1:
            probabilities, backoffs = np.full((2, len(vocabulary)), [[NEVER], [0.0]])
            probabilities[words[:, 0]], backoffs[words[:, 0]] = logs
            every = np.arange(len(vocabulary))
            model.orders.append(Order(np.zeros_like(every), every, probabilities, backoffs))
            continue
        history = model.index(words[:, :-1])
        if (history < 0).any():
            lost = rows[int(np.flatnonzero(history < 0)[0])][1]
            raise UserError(f"{path}: the {length}-gram {lost!r} has no history among the shorter ones")
        by = np.lexsort((words[:, -1], history))
        model.orders.append(Order(history[by], words[by, -1], logs[0, by], logs[1, by]))
    return model


def is_arpa(path: Path) -> bool:
    r"""Whether a file is a language model, not a text: it begins with \data\, or its name ends in .arpa or
    .gz (`read_arpa` reports a damaged file)."""
    is_named = path.name.endswith((".arpa", ".gz"))
    if is_named or not path.is_file():
        return is_named
    with path.open("rb") as file:
        return file.read(64).lstrip().startswith((b"\\data\\", b"mmap lm "))


def parse_arpa(path: Path, lines: Iterable[str]) -> list[list[tuple[float, str, float]]]:
    """(log10 probability, words, log10 back-off weight) of all n-grams, by length."""
    sections: list[list[tuple[float, str, float]]] = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\n")
        if line.endswith("-grams:") and line.startswith("\\"):
            sections.append([])
        elif line == "\\end\\" and sections:
            return sections
        elif line and sections:
            cells, length = line.split("\t"), len(sections)
            try:
                if len(cells) == 1:  # some tools separate fields by blanks
                    words = line.split()
                    cells = [words[0], " ".join(words[1 : length + 1]), *words[length + 1 : length + 2]]
                if cells[1].count(" ") != length - 1:
                    raise ValueError
                sections[-1].append((float(cells[0]), cells[1], float(cells[2]) if len(cells) > 2 else 0.0))
            except (IndexError, ValueError):
                raise UserError(f"{path}:{number}: is not an n-gram: {line[:80]!r}") from None
    raise UserError(f"{path}: is not an ARPA file, or ends before its line \\end\\")
