"""Estimate an n-gram language model of text, for the beam search of `transcribe` and `decode`.

    ia3-speech lm notes.txt data/train --out notes.arpa.gz
    ia3-speech lm data/train --mix leaflets.txt --base mini --dev data/dev --out clinic.arpa.gz

In: sentences: text files with one a line, or Kaldi data directories, of which `text` is read. Out: an ARPA
file, gzipped where its name ends in .gz, of an interpolated modified Kneser-Ney model; with --mix or --base,
of its mixture with other models. Texts are normalised as training normalises them, numbers in words: a
word is found only as the base would write it.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ia3_speech.atomic import write_json
from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.numbers_in_words import log_numbers
from ia3_speech.data.text import normalize as normalize_text
from ia3_speech.data.text import normalize_in_words
from ia3_speech.inputs import Inputs, base_folder
from ia3_speech.scoring.kaldi_files import read_kaldi_text

if TYPE_CHECKING:
    from ia3_speech.lm.ngram import NgramModel

MISSING_HINT = "give a text file with a sentence a line, or a data directory"


def main(
    *texts: str,
    out: Path,
    order: int = 3,
    mix: list[Path] | None = None,
    mix_weights: list[float] | None = None,
    base: str | None = None,
    dev: Path | None = None,
    prune: float = 0.0,
    digits: int = 4,
    normalize: Literal["ctc", "english", "none"] = "ctc",
    numbers: Literal["words", "digits"] = "words",
    summary: Path | None = None,
    force: bool = False,
) -> None:
    """Estimate an n-gram language model.

    Args:
        texts: text files with a sentence a line, or data directories
        out: the ARPA file to write; NAME.arpa.gz is gzipped
        order: words of the longest n-grams
        mix: ARPA files, texts and data directories to interpolate the model with; of each text a model is
            estimated
        mix_weights: weight of each --mix and of the base's model, the new model gets the rest (default: what
            fits --dev best, else equal)
        base: mini, a folder or a hub id: interpolate with the language model that it comes with, if it has
            one
        dev: a text file or data directory that was not read: chooses the weights; its perplexity is printed
        prune: leave out n-grams that change the perplexity by less than this, such as 1e-8 (0: none)
        digits: digits of the logarithms after the point; 2 makes the smallest file
        normalize: text normalisation, as in training
        numbers: English numbers in words, for a base without digits such as mini; or digits as they are
        summary: a JSON file to write: what was read, weights, n-grams, perplexity
        force: estimate again what was estimated from the same texts
    """
    from ia3_speech.lm import ngram
    from ia3_speech.lm.arpa import write_arpa

    mix = [*(mix or []), *models_of_base(base)]
    if not texts:
        raise UserError("no text was given (a file with a sentence a line, or a data directory)")
    if order < 1 or not 1 <= digits <= 9 or prune < 0:
        raise UserError("--order has to be at least 1, --digits 1 to 9, and --prune not negative")
    if mix_weights and (len(mix_weights) != len(mix) or min(mix_weights) < 0 or sum(mix_weights) >= 1):
        raise UserError("--mix-weights takes one weight for each --mix, and their sum has to be below 1")
    made = Inputs(
        {"texts": [text_of(Path(one)) for one in texts], "mix": list(map(text_of, mix)),
         "dev": dev and text_of(dev)},
        {"order": order, "mix_weights": mix_weights, "prune": prune, "digits": digits,
         "normalize": normalize, "numbers": numbers},
    )  # fmt: skip
    if (not summary or summary.is_file()) and made.is_current(out, force):
        return
    held_out = list(read_sentences(dev, normalize, numbers)) if dev else []
    model = ngram.estimate(
        (words for text in texts for words in read_sentences(Path(text), normalize, numbers)), order
    )
    weights = [1.0]
    if mix:
        models = [model, *(read_or_estimate(path, order, normalize, numbers) for path in mix)]
        if mix_weights:
            weights = [1 - sum(mix_weights), *mix_weights]
        else:
            weights = ngram.mixture_weights(models, held_out) if held_out else [1 / len(models)] * len(models)
        for name, weight in zip(["the new model", *map(str, mix)], weights, strict=True):
            print(f"weight of {name}: {weight:.3f}")
        model = ngram.mix(models, weights)
    model = ngram.prune(model, prune)
    write_arpa(model, out, digits=digits)
    counts = ", ".join(f"{count:,} {length}-grams" for length, count in enumerate(model.counts(), 1))
    print(f"{out}: {counts}, {out.stat().st_size / 1e6:.1f} MB")
    fit = dev_fit(model, held_out) if held_out else {}
    if fit:
        unknown = f"{fit['unknown_words']} of {fit['words']} words are not in the model"
        print(f"{dev}: perplexity {fit['perplexity']:.1f}; {unknown}")
    if summary:
        names = [" ".join(texts), *map(str, mix)]
        write_json(
            summary,
            {
                "order": order,
                "ngrams": model.counts(),
                "weights": dict(zip(names, weights, strict=True)),
                "dev": fit,
            },
        )
    made.record(out)


def models_of_base(base: str | None) -> list[Path]:
    """The language model that comes with a base, if one does."""
    from ia3_speech.loading import BASE_LM

    folder = base_folder(base) if base else None
    return [folder / BASE_LM] if folder and (folder / BASE_LM).is_file() else []


def text_of(source: Path) -> Path:
    """What is read of a source: of a data directory its `text`."""
    return source / "text" if source.is_dir() else source


def read_or_estimate(
    source: Path,
    order: int,
    normalize: Literal["ctc", "english", "none"],
    numbers: Literal["words", "digits"],
) -> "NgramModel":
    """The model of an ARPA file, or that of a text."""
    from ia3_speech.lm import ngram
    from ia3_speech.lm.arpa import is_arpa, read_arpa

    if is_arpa(source):
        return read_arpa(source)
    return ngram.estimate(read_sentences(source, normalize, numbers), order)


def dev_fit(model: "NgramModel", sentences: list[list[str]]) -> dict[str, Any]:
    """How well a model fits sentences: its perplexity, the words, and how many of them it lacks."""
    return {
        "perplexity": model.perplexity(sentences),
        "words": sum(map(len, sentences)),
        "unknown_words": sum(word not in model.ids for words in sentences for word in words),
    }


def read_sentences(
    source: Path, normalize: Literal["ctc", "english", "none"], numbers: Literal["words", "digits"]
) -> Iterator[list[str]]:
    """The words of each line of a text file, or of each utterance of a data directory; logs the numbers that
    are written in words.

    Raises:
        UserError: the file is missing, is not UTF-8 (the line is named), or is no Kaldi `text`.
    """
    file = source / "text" if source.is_dir() else source
    lines = (
        [*read_kaldi_text(file).values()] if source.is_dir() else read_utf8(file, MISSING_HINT).splitlines()
    )
    changes: Counter[str] = Counter()
    changed = 0
    for line in lines:
        before = changes.total()
        in_words = numbers == "words"
        text = normalize_in_words(line, normalize, changes) if in_words else normalize_text(line, normalize)
        changed += changes.total() > before
        if words := text.split():
            yield words
    log_numbers(changes, changed, len(lines), str(file), "as by a base without digits")


if __name__ == "__main__":
    command(main)
