"""Choose the weights of a beam search on a dev set.

    ia3-speech tune-lm data/dev --lm clinic.arpa.gz --adapter clinic --out clinic_search.yaml
    ia3-speech decode --config clinic_search.yaml --adapter clinic data/test exp/clinic/decode_lm

In: a data directory that is neither trained nor tested on, a language model, a base and perhaps an adapter.
Out: the WER of every pair of weights, and a YAML file that `decode` and `transcribe` take as --config. The
audio goes through the model once; all weights are tried on the same logits.
"""

from dataclasses import replace
from itertools import product
from pathlib import Path

from ia3_speech.adapters.expressions import parse_terms, weight_files
from ia3_speech.atomic import write_text
from ia3_speech.cli import UserError, command
from ia3_speech.decoding.ctc_search import Search
from ia3_speech.decoding.options import ModelOptions
from ia3_speech.inputs import Inputs, base_files
from ia3_speech.search import SearchOptions

LM_WEIGHTS = (0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
WORD_SCORES = (0.0, 0.75, 1.5, 2.25, 3.0)


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
        data: data directory with audio and text; neither trained nor tested on
        out: YAML file for --config of decode and transcribe (default: print the weights only)
        lm_weights: weights of the language model to try (default: 0.2 to 1)
        word_scores: scores of a word to try (default: 0 to 3)
        allow_pipes: run the shell commands that wav.scp holds
        force: tune again what was tuned on the same inputs
    """
    search_options.check()
    if search_options.lm is None:
        raise UserError("give --lm FILE, whose weights are chosen (ia3-speech lm makes one of text)")
    if (search_options.lm_weight, search_options.word_score) != (None, None):
        raise UserError("--lm-weight and --word-score are chosen (--lm-weights, --word-scores: those to try)")
    options = replace(search_options, search="beam")
    base, terms = model_options.base, parse_terms(model_options.adapter) if model_options.adapter else []
    tried = (lm_weights or LM_WEIGHTS, word_scores or WORD_SCORES)
    for lm_weight, word_score in product(*tried):
        replace(options, lm_weight=lm_weight, word_score=word_score).check()
    inputs = Inputs(
        {"data": data, "lm": options.lm, "hotwords": options.hotwords,
         "base": base_files(base) if base else None, "adapter": weight_files(terms)},
        {"base": base, "weights": [term.weight for term in terms], "tried": tried,
         "dtype": model_options.dtype, "precision": model_options.precision}
        | {name: str(value.resolve()) if isinstance(value, Path) else value
           for name, value in vars(options).items()},
    )  # fmt: skip
    if out and inputs.is_current(out, force):
        return
    from ia3_speech.lm.tuning import format_tuning, tune
    from ia3_speech.loading import load
    from ia3_speech.search import make_search

    recognizer = load(**vars(model_options), search=SearchOptions("greedy"), vad="off").recognizer

    def search_with(lm_weight: float, word_score: float) -> Search:
        weights = replace(options, lm_weight=lm_weight, word_score=word_score)
        return make_search(weights, recognizer.base)[0]

    tuning = tune(recognizer, data, search_with, *tried, allow_pipes)
    print(format_tuning(tuning))
    if out:
        import yaml

        best = replace(options, lm_weight=tuning.best[0], word_score=tuning.best[1])
        chosen = {name: value for name, value in vars(best).items() if value is not None}
        files = {name: str(value.resolve()) for name, value in chosen.items() if isinstance(value, Path)}
        write_text(out, yaml.safe_dump(chosen | files, sort_keys=False))
        inputs.record(out)
        print(f"{out}: take it as --config of ia3-speech decode or transcribe")


if __name__ == "__main__":
    command(main)
