"""Estimate an n-gram language model from text, for the beam search of `transcribe` and `decode`.

    ia3-speech lm notes.txt data/train --out notes.arpa.gz
    ia3-speech lm data/train --mix leaflets.txt --base mini --dev data/dev --out clinic.arpa.gz

In: text files with one sentence per line, or Kaldi data directories, whose `text` is read. Out: an
interpolated modified Kneser-Ney model; with --mix or --base, its mixture with other models. Texts are
normalised as in training, with numbers in words: the search finds words as the base writes them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ia3_speech.adapters.card import hub_id
from ia3_speech.adapters.record import STORED_LM
from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import Inputs
from ia3_speech.data import text as normalization
from ia3_speech.data.kaldi.table_file import read_kaldi_text, read_utf8
from ia3_speech.data.numbers_in_words import texts_in_words
from ia3_speech.model.location import base_folder

MISSING_HINT = "give a text file with a sentence on each line, or a data directory"


def main(
    *texts: str,
    out: Path,
    order: int = 3,
    mix: list[Path] | None = None,
    base: str | None = None,
    dev: Path | None = None,
    prune: float = 0.0,
    digits: int = 4,
    normalize: Literal["ctc", "english", "none"] = "ctc",
    summary: Path | None = None,
    force: bool = False,
) -> None:
    """Estimate an n-gram language model.

    Args:
        texts: text files with one sentence per line, or data directories
        out: the ARPA file to write; NAME.arpa.gz is gzipped
        order: number of words in the longest n-grams
        mix: ARPA files, texts and data directories to interpolate the model with; from each text a model is
            estimated; the interpolation weights are those that fit --dev best, without --dev equal
        base: mini, a folder or a hub id: interpolate with the language model in this base's folder, if it has
            one
        dev: a text file or data directory that is not among the texts: it chooses the weights, and its
            perplexity is printed
        prune: leave out n-grams that change the perplexity by less than this, such as 1e-8 (0: none)
        digits: decimal digits of the logarithms; 2 makes the smallest file
        normalize: text normalisation, as in training; numbers are written in words unless it is none
        summary: JSON file to write, with what was read, weights, numbers of n-grams and perplexity
        force: estimate again even if the texts are the same as before
    """
    from ia3_speech.lm import ngram
    from ia3_speech.lm.arpa import is_arpa, read_arpa, write_arpa

    if not texts:
        raise UserError("no text was given (a file with a sentence on each line, or a data directory)")
    if order < 2 or not 1 <= digits <= 9 or prune < 0:  # KenLM, which searches with it, reads no unigrams
        raise UserError("--order must be at least 2, --digits 1 to 9, and --prune not negative")
    sources = list(mix or [])
    folder = base_folder(base) if base else None
    if base and not folder:
        if not hub_id(base):
            raise UserError(f"--base {base}: is neither mini, nor a folder, nor a hub id")
        print(f"--base {base}: is not a folder here, so its language model is not mixed in")
    if folder and (folder / STORED_LM).is_file():
        sources.append(folder / STORED_LM)
    files = {"texts": [*map(text_of, map(Path, texts))], "mix": [*map(text_of, sources)]}
    options = {"order": order, "prune": prune, "digits": digits, "normalize": normalize}
    inputs = Inputs(files | {"dev": dev and text_of(dev)}, options)
    if (not summary or summary.is_file()) and inputs.is_current(out, force):
        return

    def sentences(*sources: Path) -> Iterator[list[str]]:
        return (words for source in sources for words in read_sentences(source, normalize))

    if not (held_out := list(sentences(dev)) if dev else []) and dev:
        raise UserError(f"--dev {dev}: contains no words")
    models = [ngram.estimate(sentences(*map(Path, texts)), order)]
    for path in sources:
        models.append(read_arpa(path) if is_arpa(path) else ngram.estimate(sentences(path), order))
    model, weights = models[0], [1.0]
    if sources:
        weights = ngram.mixture_weights(models, held_out) if held_out else [1 / len(models)] * len(models)
        for name, weight in zip(["the new model", *map(str, sources)], weights, strict=True):
            print(f"weight of {name}: {weight:.3f}")
        model = ngram.mix(models, weights)
    model = ngram.prune(model, prune)
    write_arpa(model, out, digits=digits)
    counts = ", ".join(f"{count:,} {length}-grams" for length, count in enumerate(model.counts(), 1))
    print(f"{out}: {counts}, {out.stat().st_size / 1e6:.1f} MB")
    fit = {}
    if held_out:
        known = [word in model.ids for sentence in held_out for word in sentence]
        perplexity, words, unknown = model.perplexity(held_out), len(known), known.count(False)
        fit = {"perplexity": perplexity, "words": words, "unknown_words": unknown}
        print(f"{dev}: perplexity {perplexity:.1f}; {unknown} of {words} words are not in the model")
    if summary:
        parts = dict(zip([" ".join(texts), *map(str, sources)], weights, strict=True))
        write_json(summary, {"order": order, "ngrams": model.counts(), "weights": parts, "dev": fit})
    inputs.record(out)


def text_of(source: Path) -> Path:
    """The file of a source: of a data directory its `text`."""
    return source / "text" if source.is_dir() else source


def read_sentences(source: Path, normalize: Literal["ctc", "english", "none"]) -> Iterator[list[str]]:
    """The words of each line of a text file, or of each utterance of a data directory, numbers in words."""
    file = text_of(source)
    lines = read_kaldi_text(file).values() if source.is_dir() else read_utf8(file, MISSING_HINT).splitlines()
    if normalize != "none":
        lines = texts_in_words([*lines], str(file), "as by a base without digits")  # which logs them
    yield from filter(None, (normalization.normalize_in_words(line, normalize).split() for line in lines))
