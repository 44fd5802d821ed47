"""An adapter for each speaker of a data directory, trained in one process: what `ia3-speech speakers` does.

In: `SpeakerOptions`. Out: below OUT an adapter and a task.json for each speaker and fold, train.json and
config.yaml; and a decode directory with the hypotheses of all folds. With folds, every utterance of a speaker
is tested once, by an adapter that was not trained on it. Where task.json stands, an adapter is complete, and
is not trained again: whether it belongs to these inputs, the record of OUT says (ia3_speech/inputs.py).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from statistics import median
from typing import Any

from ia3_speech import atomic
from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.adapters.registry import check_name
from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.recordings import part_numbers
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance
from ia3_speech.decoding.decode_directory import Decoding, environment_record, write_decode_directory
from ia3_speech.decoding.long_recordings import maximum_input_seconds
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.ia3 import count_parameters
from ia3_speech.training.config import SpeakerOptions, check_options, to_yaml
from ia3_speech.training.cross_validation import Adaptation, adapt, divide_into_folds, training_bar
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.feature_cache import FeatureCache, frozen_depth
from ia3_speech.training.multi_adapter import batches_of_similar_length, load_vectors
from ia3_speech.training.records import read_training_record
from ia3_speech.training.run import prepare_base, run_lock

logger = logging.getLogger(__name__)


def adapt_to_speakers(options: SpeakerOptions) -> dict[str, Any]:
    """Train an adapter for every speaker of a data directory; finished ones are not trained again.

    Returns:
        The contents of train.json: adapters, speakers, utterances (the median of what an adapter is adapted
        on), improved (adapters that improved on the start), not_improved (their names, SPEAKER/FOLD),
        trainable (parameters of an adapter), seed, seconds (of all adapters), wall_seconds (of this run).

    Raises:
        UserError: the options or the data can't be used, a speaker has too few utterances, or another run
            is writing to `options.out` (runs of different parts may).
    """
    check_options(options)
    with run_lock(options.out, options.part):
        base = load_base(options.base, device=options.device)
        prepare_base(base, options)
        if base.model.ia3_config.train_head or "conv" in base.model.ia3_config.placements:
            raise UserError(f"{options.init_adapter}: a head or conv vectors can't differ from row to row "
                            f"(use ia3-speech train, speaker by speaker)")  # fmt: skip
        speeds = [*{1.0, *options.speeds}]
        examples = read_examples(options.data, base, options, speeds, in_part(options), with_untrainable=True)
        adaptations = list(plan(examples, options))
        warn_of_few_utterances(adaptations, options)
        names = [f"{a.name}/{name}" for a in adaptations for name in ("adapter", "task.json")]
        for name in [*names, "config.yaml", "train.json"]:
            atomic.remove_leftovers(options.out / name)
        left = [a for a in adaptations if not (options.out / a.name / "task.json").is_file()]
        speakers = len({adaptation.name.partition("/")[0] for adaptation in adaptations})
        logger.info("%d adapters for %d speakers, %d to do", len(adaptations), speakers, len(left))
        started = time.monotonic()
        train_all(base, left, options)
        return finish(base, adaptations, options, time.monotonic() - started)


# ---- which adapters


def in_part(options: SpeakerOptions) -> Callable[[Utterance], bool]:
    """Whether an utterance's speaker belongs to this run: with --part 3/8 every eighth, from the third on."""
    number, count = part_numbers(options.part)
    data = read_data_directory(options.data, allow_pipes=options.allow_pipes)
    speakers = set(sorted({utterance.speaker for utterance in data})[number - 1 :: count])
    return lambda utterance: utterance.speaker in speakers


def plan(examples: list[Example], options: SpeakerOptions) -> Iterator[Adaptation]:
    """Every adapter, fold by fold. Raises UserError for a speaker with too few utterances."""
    by_speaker: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda example: example.utterance.id):
        by_speaker.setdefault(example.utterance.speaker, []).append(example)
    for fold, (speaker, spoken) in product(range(options.folds or 1), by_speaker.items()):
        test = spoken[fold :: options.folds] if options.folds else []
        chosen = [example for example in spoken if example.speeds and example not in test][: options.k]
        if len(divide_into_folds(chosen)) < 2:
            raise UserError(
                f"{options.data}: {speaker} has {len(spoken)} utterances, too few to train on one and hold "
                f"another one out (leave this speaker out: ia3-speech datadir subset)"
            )
        name = f"fold{fold + 1}" if options.folds else "all"
        yield Adaptation(f"{check_name(speaker)}/{name}", chosen, test)


def warn_of_few_utterances(adaptations: list[Adaptation], options: SpeakerOptions) -> None:
    """Say where there are fewer than `k` utterances."""
    fewer = [a for a in adaptations if options.k and len(a.examples) < options.k]
    if fewer:
        least = min(fewer, key=lambda adaptation: len(adaptation.examples))
        logger.warning(
            "note: %d of %d adapters have fewer than %d utterances to adapt on: %d in %s",
            *(len(fewer), len(adaptations), options.k, len(least.examples), least.name),
        )


# ---- training


def train_all(base: Base, adaptations: list[Adaptation], options: SpeakerOptions) -> None:
    """Train, test and save, `adapters_per_batch` adapters at a time."""
    cache = FeatureCache(base, frozen_depth(base), options.cache_gb * 2**30, options.allow_pipes)
    with training_bar(len(adaptations)) as bar:
        for first in range(0, len(adaptations), options.adapters_per_batch):
            group = adaptations[first : first + options.adapters_per_batch]
            adapt(base, group, options, cache, bar)
            for adaptation in group:
                load_vectors(base, adaptation.vectors)
                save(base, adaptation, options, decode_test(base, adaptation, cache))
                load_vectors(base, adaptation.start_vectors)


def decode_test(base: Base, adaptation: Adaptation, cache: FeatureCache) -> dict[str, str]:
    """Utterance id → hypothesis of what it is tested on, with the vectors that the base holds.

    What exceeds the base's maximum input duration is cut at pauses, as `ia3-speech decode` does it.
    """
    base.model.eval()
    limit = maximum_input_seconds(base)
    texts, rows = {}, []
    for example in adaptation.test:
        if limit and example.seconds > limit:
            wave = load_utterance(example.utterance, allow_pipes=cache.allow_pipes)
            [texts[example.utterance.id]] = Recognizer(base, max_seconds=limit).texts([wave])
        else:
            rows.append((0, example))
    for batch in batches_of_similar_length(rows):
        hypotheses = cache.texts([example.utterance for _, example in batch])
        texts |= {e.utterance.id: text for (_, e), text in zip(batch, hypotheses, strict=True)}
    return texts


def save(base: Base, adaptation: Adaptation, options: SpeakerOptions, texts: dict[str, str]) -> None:
    """Write the adapter, then task.json: where that stands, the adapter is complete."""
    speaker, _, fold = adaptation.name.partition("/")
    training = {"fold": fold, "data": str(options.data), "init_adapter": options.init_adapter}
    training |= adaptation.record()
    if not adaptation.setting.epochs:
        logger.warning("%s: no setting improved on the start, which is kept", adaptation.name)
    labels = labels_of_trained(options.init_adapter, {"speaker": speaker})
    folder = options.out / adaptation.name
    save_adapter(base.model, folder / "adapter", base=base, labels=labels, training=training)
    atomic.write_json(folder / "task.json", training | {"speaker": speaker, "texts": texts})


def finish(
    base: Base, adaptations: list[Adaptation], options: SpeakerOptions, seconds: float
) -> dict[str, Any]:
    """Gather the hypotheses in a decode directory, and write and return the summary."""
    records = [read_training_record(options.out / a.name / "task.json") for a in adaptations]
    if options.folds and not options.part:
        write_decoding(base, records, options)
    summary = {
        "adapters": len(adaptations),
        "speakers": len({record["speaker"] for record in records}),
        "utterances": median(len(adaptation.examples) for adaptation in adaptations),
        "improved": sum(record["selected_epoch"] > 0 for record in records),
        "not_improved": [f"{r['speaker']}/{r['fold']}" for r in records if not r["selected_epoch"]],
        "trainable": count_parameters(base.model).trained,
        "seed": options.seed,
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "wall_seconds": round(seconds, 1),
    }
    if not options.part:
        atomic.write_text(options.out / "config.yaml", to_yaml(options))
        atomic.write_json(options.out / "train.json", summary)
    return summary


def write_decoding(base: Base, records: Sequence[dict[str, Any]], options: SpeakerOptions) -> None:
    """The decode directory of all folds: each hypothesis by an adapter not trained on the utterance."""
    utterances = read_data_directory(options.data, allow_pipes=options.allow_pipes).utterances
    texts = {utterance: text for record in records for utterance, text in record["texts"].items()}
    reason = "bad audio (see the log)"
    left_out = [BadAudio(u.id, u.source, reason) for u in utterances if u.id not in texts]
    result = Decoding({u.id: texts.get(u.id, "") for u in utterances}, left_out)
    record = {
        "schema": 1,
        "data": str(options.data),
        "base": {"name": base.name, "sha256": base.fingerprint["sha256"]},
        "adapter": {"name": f"one for each speaker, started from {options.init_adapter or 'the base'}"},
        "search": "greedy",
        "normalize": "none",
        "utterances": len(texts),
        **environment_record(base, "speakers"),
    }
    write_decode_directory(result, utterances, options.decode_dir or options.out / "decode", record)
