"""Choose the weights of a beam search on a dev set.

    ia3-speech tune-lm data/dev --lm clinic.arpa.gz --adapter clinic --out clinic_search.yaml
    ia3-speech decode --config clinic_search.yaml --adapter clinic data/test exp/clinic/decode_lm

Out: the WER of every pair of weights, and a YAML file that `decode` and `transcribe` take as --config. The
audio goes through the model once; all weights are tried on the same logits.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from ia3_speech.adapters.spec import parse_adapter, tensor_files_of
from ia3_speech.common.atomic import write_text
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import Inputs
from ia3_speech.common.progress import Progress
from ia3_speech.data.text import normalize
from ia3_speech.decoding.decode_directory import dev_logits
from ia3_speech.decoding.options import ModelOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.search import NO_LM, SearchOptions, make_search
from ia3_speech.model.hypotheses import GreedySearch, Search
from ia3_speech.model.location import base_files
from ia3_speech.session import load

LM_WEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
WORD_SCORES = (0.0, 0.75, 1.5, 2.25, 3.0)
MAX_THREADS = 4  # each holds a language model in memory

Weights = tuple[float, float]  # lm_weight, word_score


def main(
    data: Path,
    *,
    model_options: ModelOptions,
    search_options: SearchOptions,
    out: Path | None = None,
    lm_weights: list[float] | None = None,
    word_scores: list[float] | None = None,
    allow_pipes: bool = False,
    force: bool = False,
) -> None:
    """Choose --lm-weight and --word-score of a beam search by the WER of a dev set.

    Args:
        data: data directory with audio and text, used for neither training nor testing
        out: YAML file for --config of decode and transcribe (default: print the weights only)
        lm_weights: language model weights to try (default: 0.2 to 1)
        word_scores: word scores to try (default: 0 to 3)
        allow_pipes: run the shell commands that wav.scp holds
        force: tune again even if the inputs are the same as before
    """
    if search_options.lm in (None, NO_LM):
        raise UserError("give --lm FILE, whose weights are chosen (ia3-speech lm makes one of text)")
    if (search_options.lm_weight, search_options.word_score) != (None, None):
        raise UserError(
            "leave out --lm-weight and --word-score (--lm-weights and --word-scores set those to try)"
        )
    options = replace(search_options, search="beam")
    base, spec = model_options.base, parse_adapter(model_options.adapter)
    tried = (lm_weights or LM_WEIGHTS, word_scores or WORD_SCORES)
    searches = {
        weights: replace(options, lm_weight=weights[0], word_score=weights[1])
        for weights in product(*map(sorted, tried))
    }
    inputs = Inputs(
        {"data": data, "lm": options.lm, "hotwords": options.hotwords,
         "base": base_files(base) if base else None, "adapter": tensor_files_of(spec)},
        {"base": base, "weights": [term.weight for term in spec.terms], "tried": tried,
         "dtype": model_options.dtype, "precision": model_options.precision}
        | {name: str(value.resolve()) if isinstance(value, Path) else value
           for name, value in vars(options).items()},
    )  # fmt: skip
    if out and inputs.is_current(out, force):
        return
    loading = model_options.for_loading(vad="off") | {"adapter": spec}
    recognizer = load(**loading, search="greedy").recognizer
    greedy, rates = tune(recognizer, data, searches, allow_pipes)
    best = min(rates, key=rates.__getitem__)  # of equal rates, that of the smallest weights
    print(format_rates(greedy, rates, best))
    if out:
        import yaml

        chosen = {name: value for name, value in vars(searches[best]).items() if value is not None}
        files = {name: str(value.resolve()) for name, value in chosen.items() if isinstance(value, Path)}
        write_text(out, yaml.safe_dump(chosen | files, sort_keys=False))
        inputs.record(out)
        print(f"{out}: take it as --config of ia3-speech decode or transcribe")


def tune(
    recognizer: Recognizer, data: Path, searches: Mapping[Weights, SearchOptions], allow_pipes: bool
) -> tuple[float, dict[Weights, float]]:
    """The word error rate of greedy search on a data directory, and of each beam search by its weights."""
    from rapidfuzz.distance import Levenshtein

    references, logits_by_id = dev_logits(recognizer, data, allow_pipes)

    def word_error_rate(search: Search) -> float:
        errors = 0
        for name, pieces in logits_by_id.items():
            texts = [search(logits.astype(np.float32)).text for logits in pieces]
            errors += Levenshtein.distance(references[name], normalize(" ".join(texts)).split())
        return errors / sum(map(len, references.values()))

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(MAX_THREADS, processors)) as pool:  # a search holds no lock of Python's
        rate = lambda options: word_error_rate(make_search(options, recognizer.base)[0])  # noqa: E731
        rates = pool.map(rate, searches.values())  # each thread makes its search: MAX_THREADS in memory
        bar = Progress([*searches], "tuning")
        rate_of = dict(zip(bar, rates, strict=True))
    return word_error_rate(GreedySearch(recognizer.base.vocabulary)), rate_of


def format_rates(greedy: float, rates: Mapping[Weights, float], best: Weights) -> str:
    """A table for people: the rate for each LM weight (rows) and word score, and a line on the best."""
    scores = sorted({score for _, score in rates})
    lines = [f"{'WER %':<14}word score", f"{'LM weight':<10}" + "".join(f"{score:>8g}" for score in scores)]
    for weight in sorted({weight for weight, _ in rates}):
        cells = "".join(f"{100 * rates[weight, score]:>8.1f}" for score in scores)
        lines.append(f"{weight:<10g}{cells}")
    lines.append(
        f"greedy search: {100 * greedy:.1f} %; best: {100 * rates[best]:.1f} % with "
        f"--lm-weight {best[0]:g} --word-score {best[1]:g}"
    )
    if rates[best] > greedy:
        lines.append(
            "note: --search greedy makes fewer errors than this language model (of another subject?)"
        )
    return "\n".join(lines)
