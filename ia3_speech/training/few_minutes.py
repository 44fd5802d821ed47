"""`ia3-speech train` without dev: an adapter of a few minutes of speech, chosen and measured by
cross-validation.

In: `TrainingOptions`. Out: OUT/adapter, config.yaml, train.json, and for each fold an adapter that was not
trained on its utterances: folds/foldN/{adapter, task.json}, with which `ia3-speech decode
--adapter-per-speaker OUT` decodes them. It takes minutes, so a run that was killed starts again.
"""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import log
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm.contrib.logging import logging_redirect_tqdm

from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.common import atomic
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.formatting import fewer_errors, percent, plural
from ia3_speech.common.progress import Progress
from ia3_speech.data.corpora.preparation import text_places
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import Utterance
from ia3_speech.model.base import Base
from ia3_speech.scoring.significance import bootstrap_sums, percentile_interval, ratio
from ia3_speech.training import cross_validation
from ia3_speech.training.config import TrainingOptions, to_yaml
from ia3_speech.training.cross_validation import Adaptation, FoldResult, adapt_from_each, prepare
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.multi_adapter import START, Measure, load_vectors
from ia3_speech.training.replay import read_replay
from ia3_speech.training.run import load_for_training, run_lock, run_record

logger = logging.getLogger(__name__)

MIN_UTTERANCES = 5
STANDS_OUT = 2.0  # robust deviations of a loss above the speaker's median


def train_on_few(options: TrainingOptions, base: Base | None = None) -> dict[str, Any]:
    """Train an adapter of a few minutes of speech. `base` as for `train`. Raises TrainingError, AudioError or
    DataError if the options or the data can't be used, or another run is writing to `options.out`.

    Returns:
        The contents of train.json: `run_record`; seconds; the results of cross-validation:
        `Adaptation.record`, held_out_errors (utterance → word errors, by the adapter of the fold that holds
        it out), start_dev_wer and dev_wer, change_ci (of the relative change, 95 %), better (share of the
        bootstrap's draws with fewer errors than the base); suspicious: utterances whose text should be
        checked, with file and line; init_adapter, if it was accepted as the start; and if nothing was better
        than the start, a note.
    """
    with run_lock(options.out, ("adapter", "config.yaml", "train.json")):
        base, started = base or load_for_training(options), time.monotonic()
        replay = read_replay(base, options)
        prepare(base, options, None)
        examples = read_examples(options.train, base, options, [*{1.0, *options.speeds}])
        check_examples(examples, options.train)
        tried = cross_validation.measures_of_starts(base, examples, options)
        measures, parts = [*tried[None].values()], cross_validation.divide_into_folds(examples)
        starts = cross_validation.starts_of_folds(Adaptation("", examples, parts), tried)
        # The name decides the random numbers, so that it must not depend on the directory of an adapter.
        adaptations = {
            start: Adaptation(Path(start or "base").name, examples, parts)
            for start in dict.fromkeys(starts.values())
        }
        total = cross_validation.epochs_of([*adaptations.values()], options)
        with logging_redirect_tqdm(), Progress(total, "training") as progress:
            adapt_from_each([adaptations], options, partial(prepare, base, options), replay, progress)
        start = starts.pop(None)
        adaptation = adaptations[start]
        folds = [(of_fold, adaptations[of_fold].unbiased[n]) for n, of_fold in starts.items()]
        prepare(base, options, start)
        speakers = {example.utterance.speaker for example in examples}
        summary = {
            **run_record(base, options, examples),
            "suspicious": suspicious(examples, measures, len(base.vocabulary.tokens), options.train),
            **validation_record(measures, adaptation, [result for _, result in folds]),
            **({"init_adapter": start} if start else {}),
            "seconds": round(time.monotonic() - started, 1),
        }
        labels = labels_of_trained(start, options.labels, speakers)
        options = replace(options, init_adapter=start, labels=labels, precision=base.precision)
        save_folds(base, folds, options)
        prepare(base, options, start)
        load_vectors(base, adaptation.vectors)
        record = summary | {"data": str(options.train)}
        save_adapter(base.model, options.out / "adapter", base=base, labels=labels, training=record)
        atomic.write_text(options.out / "config.yaml", to_yaml(options))
        atomic.write_json(options.out / "train.json", summary)
        return summary


def refuse_too_few(path: Path, utterances: Sequence[Utterance]) -> None:
    """Raises TrainingError for fewer than MIN_UTTERANCES utterances of `path`, or if they have one text."""
    if len(utterances) < MIN_UTTERANCES or len({normalize(u.text or "") for u in utterances}) < 2:
        raise TrainingError(
            f"{path}: {plural(len(utterances), 'utterance')} can't be divided into folds; at least "
            f"{MIN_UTTERANCES}, not all with one text, are needed (twenty sentences are a good start)"
        )


def check_examples(examples: list[Example], path: Path) -> None:
    """Raises TrainingError for too few utterances; warns of a recording that is there twice."""
    refuse_too_few(path, [example.utterance for example in examples])
    files: dict[tuple, str] = {}
    for example in examples:
        utterance = example.utterance
        first = files.setdefault((example.audio, utterance.start, utterance.end), utterance.id)
        if first != utterance.id:
            logger.warning("note: %s and %s are the same recording", first, utterance.id)


def suspicious(examples: list[Example], measures: list[Measure], symbols: int, data: Path) -> dict[str, str]:
    """Utterances whose text should be checked: id → file, and the place of its text if known.

    The base recognises at most half of the words, the text fits worse than a guess among the base's
    `symbols`, and the loss stands out among the speaker's (among all, if the speaker has few utterances),
    since an accent's loss is high. Of 14 speakers of speechocean762 with 15 utterances each, of which the
    texts of two were swapped, in three draws it named 82 of 84, and none of the 546 others.
    """
    speakers, losses = {example.utterance.id: example.utterance.speaker for example in examples}, {}
    for m in measures:
        losses.setdefault(speakers[m.utterance], []).append(m.loss)

    def stands_out(m: Measure) -> bool:
        its_speakers = losses[speakers[m.utterance]]
        others = its_speakers if len(its_speakers) >= MIN_UTTERANCES else [m.loss for m in measures]
        middle = median(others)
        deviation = 1.4826 * median(abs(loss - middle) for loss in others)
        return m.loss > max(log(symbols), middle + STANDS_OUT * deviation)

    wrong = {m.utterance for m in measures if m.errors >= m.words / 2 and stands_out(m)}
    places = text_places(data)
    utterances = [example.utterance for example in examples if example.utterance.id in wrong]
    return {u.id: ", ".join(filter(None, (u.source, places.get(u.recording)))) for u in utterances}


def validation_record(base: list[Measure], adaptation: Adaptation, folds: list[FoldResult]) -> dict[str, Any]:
    """The result of cross-validation, compared with the base's measures of all utterances (`base`)."""
    record, before = adaptation.record(folds), {measure.utterance: measure for measure in base}
    after = [measure for result in folds for measure in result.measures]
    counts = {
        "before": np.array([before[measure.utterance].errors for measure in after]),
        "after": np.array([measure.errors for measure in after]),
    }
    draws = bootstrap_sums(counts)
    change = percentile_interval(ratio(draws["after"] - draws["before"], draws["before"]))
    words, errors = record["words"], int(counts["before"].sum())
    unchanged = adaptation.choice()[1] == START and adaptation.name == "base"
    return record | {
        "held_out_errors": {measure.utterance: measure.errors for measure in after},
        "base_errors": errors,
        "start_dev_wer": errors / words,
        "dev_wer": record["errors"] / words,
        "change_ci": change,
        "better": float((draws["after"] < draws["before"]).mean()),
        **({"note": "nothing was better than the start"} if unchanged else {}),
    }


def cross_validation_report(adapter: str, summary: dict[str, Any]) -> list[str]:
    """The result of training without dev, in sentences; `adapter` is its name in them."""
    minutes, people = summary["audio_seconds"] / 60, plural(summary["speakers"], "speaker")
    words, before, after = (summary[name] for name in ("words", "base_errors", "errors"))
    start = f", from {summary['init_adapter']}" if "init_adapter" in summary else ""
    relative = (after - before) / before if before else None
    if start and (gain := before - summary["start_errors"]) > 0:
        gain = percent(gain / before, 0)
        start += f" ({gain} % fewer errors than the base before any training)"
    lines = [
        f"{adapter}: {plural(summary['utterances'], 'utterance')} of {people}, {minutes:.1f} minutes; "
        f"{plural(summary['selected_epoch'], 'epoch')}, scale {summary['scale']:g}{start}; "
        f"{summary['seconds']:.0f} s",
        f"On held-out sentences: {before} → {after} errors in {words} words (WER {percent(before / words)} → "
        f"{percent(after / words)} %): {fewer_errors(relative, summary['change_ci'])}",
    ]
    if "note" in summary:
        lines.append(f"note: {summary['note']}, so the adapter changes nothing")
    elif after >= before:
        lines.append("note: the adapter makes no fewer errors than the base")
    if before >= 0.9 * words and after >= before:
        lines.append(
            "note: the base recognises nearly no word: is there speech in all recordings, in its language, "
            "and does each text belong to its recording?"
        )
    else:
        for id, file in summary["suspicious"].items():
            lines.append(f"note: hypothesis and text of {id} disagree; check the text ({file})")
    return lines


def save_folds(base: Base, folds: list[tuple[str | None, FoldResult]], options: TrainingOptions) -> None:
    shutil.rmtree(options.out / "folds", ignore_errors=True)
    for number, (start, result) in enumerate(folds, 1):
        folder = options.out / "folds" / f"fold{number}"
        prepare(base, options, start)
        load_vectors(base, result.vectors)
        trained_on = [example.utterance.id for example in result.fold.train_examples]
        training = {"data": str(options.train), "fold": f"fold{number}", "trained_on": trained_on}
        save_adapter(base.model, folder / "adapter", base=base, labels=options.labels, training=training)
        texts = {measure.utterance: measure.text for measure in result.measures}
        record = training | result.setting._asdict() | {"init_adapter": start, "texts": texts}
        atomic.write_json(folder / "task.json", record)
