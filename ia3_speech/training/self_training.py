"""Self-training: an adapter from recordings without texts, in rounds (`ia3-speech self-train`).

In: recordings, options of training and of the search. Out, in OUT: adapter/, config.yaml, train.json and
metrics.jsonl as `train` writes them; and for each round

    round1/train/   a data directory of the utterances to learn from, with pseudo-labels
    round1/fit/     every fifth of these utterances (all if they are few), to see whether training works
    round1/exp/     its training, as `train` writes it

Pseudo-labels are words that a recogniser is sure of, and recognises again when the audio is played slower and
faster (Kahn et al. 2020, arXiv 1909.09116; Khurana et al. 2021, arXiv 2011.13439): whole utterances, else the
parts in which all words fulfil this:

    the patient    denies     chest    pain       words
    the patient    the knees  chest    pain       at 0.9 times the speed; another decoding at 1.1
       .93  .95       .81       .68     .91       confidences, which `calibrate` makes probabilities
    |-----------|          |---------------|      two parts: "the patient" and "chest pain"

Each round labels the recordings with the adapter of the last round, the first with the start, and trains anew
from the start. A better recogniser's greedy text is nearer to its own text with a language model: the word
error rate between both, on held-out recordings, chooses the round.

The teacher, which labels for the first round, may be another base with an adapter of its own. Then the word
error rate against the teacher's text chooses the round: so an adapter gets to a new base without texts. (With
synthetic text, for language models: Trans-LoRA, Wang et al. 2024, arXiv 2405.17258.)
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.spec import parse_sum
from ia3_speech.common import atomic
from ia3_speech.common.errors import AudioError, TrainingError, UserError
from ia3_speech.common.formatting import plural
from ia3_speech.data.kaldi.directory import UtteranceIds, write_data_directory
from ia3_speech.data.recordings import find_recordings
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import BadAudio, Utterance
from ia3_speech.decoding.decode_directory import Decoding, decode_utterances, read_for_decoding
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS, cut_utterance
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.decoding.transcript import Word
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import load_base
from ia3_speech.scoring.alignment import ALIGN_TEXT, ErrorCounts, align, count_errors
from ia3_speech.session import load
from ia3_speech.training.config import SelfTrainingOptions, SharedOptions, TrainingOptions, to_yaml
from ia3_speech.training.data import targets_of
from ia3_speech.training.run import prepare_base, run_lock, train
from ia3_speech.training.segmentation import known_seconds

logger = logging.getLogger(__name__)

LEARNT = ("learnt_utterances", "learnt_words", "learnt_minutes", "disagreement")
MIN_LABELS = 5  # utterances to learn from
MIN_PART_WORDS = 2  # of a part: a single word, cut out of its context, is recognised worse
MIN_RECORDINGS = 3
MIN_WORD_SHARE = 0.9  # of the start's words: words missing below this share count as errors
SPEEDS = 0.9, 1.1  # at which a word must be recognised again
FEW = 50  # with fewer recordings more of them are held out, and all labels are in fit/
BATCH_SECONDS, EPOCH_MINUTES = 20.0, 1.5  # of a round's training, which may have a minute of speech


class Model(NamedTuple):
    """A base, and its adapter (a name, a folder or a sum; None: none)."""

    base: str
    adapter: str | None


def teacher_of(options: SelfTrainingOptions) -> Model | None:
    """The teacher, unless it is `base` with `init_adapter`. Raises UnknownAdapter."""
    if adapter := options.teacher_adapter:
        return Model(parse_sum(adapter).base(options.teacher_base), adapter)
    return Model(options.teacher_base, None) if options.teacher_base else None


@dataclass(frozen=True)
class SelfTraining:
    """A run of self-training. `search` labels the recordings."""

    options: SelfTrainingOptions
    search: SearchOptions

    def run(self) -> dict[str, Any]:
        """Train, or resume. Raises TrainingError or UserError if the options or the recordings can't be used,
        or another run is writing to `out`.

        Returns:
            The contents of train.json: the entries of the selected round's training, without a dev WER;
            recordings, left_out (lines on unusable recordings), selected_round (0: the start),
            start_disagreement; rounds: the utterances, words and minutes to learn from, and the disagreement,
            a fraction, which selects the round; if the start is selected, a note with the reason; the
            teacher, if it is another model.
        """
        options = self.options
        with run_lock(options.out):
            started = time.monotonic()
            utterances, unread = read_recordings(options.data, options.allow_pipes)
            recordings = len(utterances) + len(unread)
            if len(utterances) < MIN_RECORDINGS:  # a lecture: some of its pieces are held out
                utterances = [*pieces(utterances, options)]
            teacher = teacher_of(options)
            model = teacher or Model(options.base, options.init_adapter)
            decoding = self.label(options.out / "hypotheses.json", utterances, model)
            left_out = [*unread, *(str(fault) for fault in decoding.bad if fault.left_out)]
            for line in left_out:
                logger.warning("%s", line)
            if left_out:
                logger.warning("%s: %s left out", options.data, plural(len(left_out), "recording"))
            unusable = len(left_out) == len(utterances) + len(unread)
            if unusable or len(utterances) < MIN_RECORDINGS:
                few = f"too few recordings, {len(utterances)} (give three, or a minute of speech)"
                for file in options.out.glob("hypotheses*.json"):  # the next attempt has other recordings
                    file.unlink()
                raise TrainingError(f"{options.data}: {'no recording can be used' if unusable else few}")
            rounds, selected, note = self.train_rounds(utterances, decoding)
            summary = {
                **(rounds[selected - 1] if selected else {"seed": options.seed, "selected_epoch": 0}),
                "recordings": recordings,
                "left_out": left_out,
                "selected_round": selected,
                "rounds": [{name: record[name] for name in LEARNT} for record in rounds],
                **({} if selected else {"note": note}),
                **({"teacher": teacher._asdict()} if teacher else {}),
            }
            for name in ("dev_wer", "start_dev_wer"):  # of round1/fit
                summary.pop(name, None)
            self.save(summary, started)
            return summary

    def label(self, file: Path, utterances: Sequence[Utterance], model: Model) -> Decoding:
        """The words that a model recognises, without confidence in those that it does not recognise at each
        of SPEEDS too (if there is a filter)."""
        decoding = self.decode(file, utterances, model, self.search)
        for speed in SPEEDS if self.options.min_confidence else ():
            again = self.decode(file.with_suffix(f".{speed}.json"), utterances, model, self.search, speed)
            decoding.words = {id: confirmed(words, again.texts[id]) for id, words in decoding.words.items()}
        return decoding

    def decode(
        self,
        file: Path,
        utterances: Sequence[Utterance],
        model: Model,
        search: SearchOptions,
        speed: float = 1.0,
    ) -> Decoding:
        """The hypotheses of a model; stored in `file`, and read there if it exists."""
        if not file.is_file():
            options = self.options
            computing = {"device": options.device, "precision": options.precision}
            recognizer = load(model.base, adapter=model.adapter, search=search, **computing).recognizer
            reading = {"on_error": options.on_error, "with_words": True, "speed": speed}
            decoding = decode_utterances(recognizer, utterances, **reading)
            words = {id: [astuple(word)[:4] for word in text] for id, text in decoding.words.items()}
            atomic.write_json(file, {"words": words, "bad": [astuple(fault) for fault in decoding.bad]})
        stored = read_json(file)
        words = {id: tuple(Word(*word) for word in text) for id, text in stored["words"].items()}
        texts = {u.id: " ".join(word.text for word in words.get(u.id, ())) for u in utterances}
        return Decoding(texts, [BadAudio(*fault) for fault in stored["bad"]], words)

    def train_rounds(
        self, utterances: Sequence[Utterance], decoding: Decoding
    ) -> tuple[list[dict[str, Any]], int, str]:
        """Train the rounds. Returns their records, the number of the best (0: the start), and why it is 0."""
        options, rounds, selected = self.options, [], 0
        compared = "the teacher's text" if teacher_of(options) else "the text by beam search"
        note = f"in no round did greedy text come nearer to {compared} than at the start"
        learnt, held_out = divide(utterances)
        base, labelled = load_base(options.base, device="cpu"), decoding
        targets, missing = targets_of(base, options), base.vocabulary.missing
        start = best = math.inf
        for number in range(1, options.rounds + 1):
            folder = options.out / f"round{number}"
            labels = confident_labels(learnt, decoding, options.min_confidence, base.maximum_seconds)
            labels = [label for label in labels if not missing([targets.text(label)])]  # of another base
            if len(labels) < MIN_LABELS:
                recognised = plural(sum(map(len, decoding.words.values())), "word")
                note = (
                    f"too few of the {recognised} that were recognised are certain (is there speech in the "
                    f"recordings, in the base's language? Minimum confidence: {options.min_confidence:g})"
                )
                break
            write_data_directory(folder / "train", labels)
            write_data_directory(folder / "fit", labels if len(utterances) < FEW else labels[4::5])
            minutes = round(sum(label.duration for label in labels) / 60, 2)
            learnt_words = sum(len(label.text.split()) for label in labels)
            sizes = number, learnt_words, minutes
            logger.info("round %d: %d words, %.1f minutes (dev is a part of them)", *sizes)
            summary = self.train_round(folder)
            if not summary["selected_epoch"]:
                note = "training came no nearer to its labels (try a lower learning rate)"
                break
            if number == 1:
                start = best = self.disagreement(options.out, held_out, options.init_adapter, labelled)
            adapter = str(folder / "exp/adapter")
            criterion = self.disagreement(folder, held_out, adapter, labelled)
            numbers = len(labels), learnt_words, minutes, criterion
            rounds.append(summary | {"start_disagreement": start} | dict(zip(LEARNT, numbers, strict=True)))
            if criterion >= best:
                break
            best, selected = criterion, number
            if number < options.rounds:
                decoding = self.label(folder / "hypotheses.json", utterances, Model(options.base, adapter))
        return rounds, selected, note

    def disagreement(
        self, folder: Path, held_out: Sequence[Utterance], adapter: str | None, labelled: Decoding
    ) -> float:
        """The word error rate of greedy text by the base with an adapter against its text by beam search, or
        against the text of another teacher (`labelled`, before the first round). Words missing to 90 % of the
        number in `labelled` are errors, since silence agrees with itself."""
        model = Model(self.options.base, adapter)
        greedy = self.decode(folder / "held_out_greedy.json", held_out, model, SearchOptions("greedy")).texts
        expected = labelled.texts
        if not teacher_of(self.options):
            expected = self.decode(folder / "held_out_beam.json", held_out, model, self.search).texts
        counts = [count_errors(expected[u.id].split(), greedy[u.id].split()) for u in held_out]
        total, words = sum(counts, ErrorCounts()), sum(len(labelled.texts[u.id].split()) for u in held_out)
        missing = max(0, round(MIN_WORD_SHARE * words) - total.words)
        return (total.total + missing) / max(1, total.words + missing)

    def train_round(self, folder: Path) -> dict[str, Any]:
        """Train on FOLDER/train, unless that is complete; returns the contents of train.json."""
        if (folder / "exp/train.json").is_file():
            return read_json(folder / "exp/train.json")
        shared = {field.name: getattr(self.options, field.name) for field in fields(SharedOptions)}
        shared |= {"on_error": "skip", "batch_seconds": BATCH_SECONDS, "epoch_minutes": EPOCH_MINUTES}
        shared["patience"] = self.options.epochs
        places = {"out": folder / "exp", "train": folder / "train", "dev": folder / "fit"}
        return train(TrainingOptions(**shared, **places))

    def save(self, summary: dict[str, Any], started: float) -> None:
        """Write the adapter of the selected round (0: the start), the options and the summary."""
        options, selected = self.options, summary["selected_round"]
        folder = options.out / f"round{selected}"
        adapter = str(folder / "exp/adapter") if selected else options.init_adapter
        base = load_base(options.base, device="cpu")
        prepare_base(base, replace(options, init_adapter=adapter))
        summary["trainable"] = sum(p.numel() for _, p in trainable(base.model))
        summary["seconds"] = round(time.monotonic() - started, 1)
        training = {name: value for name, value in summary.items() if name not in ("left_out", "rounds")}
        training |= {"recordings_without_texts": str(options.data)}
        if selected:
            training |= {"data": str(folder / "train"), "learning_rate": options.learning_rate}
        if options.init_adapter:
            training["init_adapter"] = options.init_adapter
        labels = labels_of_trained(options.init_adapter, labels_of_trained(options.teacher_adapter, {}))
        save_adapter(base.model, options.out / "adapter", base=base, labels=labels, training=training)
        atomic.write_text(options.out / "config.yaml", to_yaml(options))
        if (metrics := folder / "exp/metrics.jsonl").is_file():
            atomic.write_text(options.out / "metrics.jsonl", metrics.read_text("utf-8"))
        atomic.write_json(options.out / "train.json", summary)


def divide(utterances: Sequence[Utterance]) -> tuple[list[Utterance], Sequence[Utterance]]:
    """The utterances to learn from, and those that are held out: every fifth, or every third of few."""
    every = 3 if len(utterances) < FEW else 5
    learnt = [utterance for number, utterance in enumerate(utterances, 1) if number % every]
    return learnt, utterances[every - 1 :: every]


def read_recordings(data: Path, allow_pipes: bool = False) -> tuple[list[Utterance], list[str]]:
    """The recordings of a Kaldi data directory, whose `text` is not read, or of a folder, where each counts
    as a speaker; and a line for each file there of an unknown format."""
    if (data / "wav.scp").is_file():
        return [replace(u, text=None) for u in read_for_decoding(data, allow_pipes)], []
    recordings, bad = find_recordings([str(data)])
    if not recordings:
        raise UserError("\n".join(bad))
    ids = UtteranceIds(len(recordings))
    utterances = []
    for number, recording in enumerate(recordings, 1):
        speaker, id = ids.assign("", recording.id or "", number)
        utterances.append(Utterance(id, speaker, id, str(recording.audio)))
    return sorted(utterances, key=lambda utterance: utterance.id), bad


def pieces(utterances: Sequence[Utterance], options: SharedOptions) -> Iterator[Utterance]:
    """Recordings, cut at pauses where they exceed the base's maximum input duration."""
    maximum = load_base(options.base, device="cpu").maximum_seconds or MAXIMUM_SECONDS
    ids = ids_of(utterances)
    for utterance in utterances:
        cut = [utterance]
        with suppress(AudioError):  # decoding reports it
            cut = cut_utterance(utterance, known_seconds(utterance), maximum)
        for number, piece in enumerate(cut, 1):
            yield replace(piece, id=ids.make_unique(f"{piece.id}-{number:04d}") if len(cut) > 1 else piece.id)


def ids_of(utterances: Sequence[Utterance]) -> UtteranceIds:
    """Their ids are taken: the first part of `call` must not get the id of another recording, `call-001`."""
    ids = UtteranceIds(len(utterances))
    for utterance in utterances:
        ids.make_unique(utterance.id)
    return ids


def confirmed(words: Sequence[Word], text: str) -> tuple[Word, ...]:
    """The words, with confidence 0 where they differ from `text` in an alignment, normalised."""
    recognised = [normalize(word.text) for word in words]
    pairs = align([normalize(word) for word in text.split()], recognised, ALIGN_TEXT)
    same = [reference == hypothesis for reference, hypothesis in pairs if hypothesis is not None]
    return tuple(w if agrees else replace(w, confidence=0.0) for w, agrees in zip(words, same, strict=True))


def confident_labels(
    utterances: Sequence[Utterance], decoding: Decoding, min_confidence: float, maximum_seconds: float | None
) -> list[Utterance]:
    """Labelled utterances: whole ones in which each word has the confidence `min_confidence`; of others, and
    of utterances beyond `maximum_seconds`, the parts of two words or more that have it."""
    maximum, labels, ids = maximum_seconds or MAXIMUM_SECONDS, [], ids_of(utterances)
    for utterance in utterances:
        if not (words := decoding.words.get(utterance.id)):
            continue
        length, offset = known_seconds(utterance), utterance.start or 0.0
        length = words[-1].end if math.isnan(length) else length  # of a shell pipe
        if min(word.confidence for word in words) >= min_confidence and length <= maximum:
            parts = [(0.0, length, decoding.texts[utterance.id])]
        else:
            parts = [*confident_parts(words, length, min_confidence, maximum)]
        for number, (start, end, text) in enumerate(parts, 1):
            id = utterance.id if len(parts) == 1 else ids.make_unique(f"{utterance.id}-{number:03d}")
            times = {"start": offset + start, "end": offset + end, "duration": end - start}
            labels.append(replace(utterance, id=id, text=text, **times))
    return labels


def confident_parts(
    words: Sequence[Word], length: float, min_confidence: float, maximum: float
) -> Iterator[tuple[float, float, str]]:
    """Start and end, in seconds, and the text of each part in which all words have the confidence. It begins
    and ends halfway to its neighbours, at most 0.5 s from its words, and has at most `maximum` s."""
    numbers = range(len(words))
    for confident, run in groupby(numbers, lambda number: words[number].confidence >= min_confidence):
        run = [*run]
        while confident and len(run) >= MIN_PART_WORDS:
            taken = [n for n in run if words[n].end - words[run[0]].start <= maximum - 1.0] or run[:1]
            run = run[len(taken) :]
            first, last = words[taken[0]], words[taken[-1]]
            before = words[taken[0] - 1].end if taken[0] else -1.0
            after = words[taken[-1] + 1].start if taken[-1] + 1 < len(words) else length + 1.0
            start = max(0.0, first.start - 0.5, (before + first.start) / 2 if taken[0] else 0.0)
            end = min(length, last.end + 0.5, (last.end + after) / 2)
            yield start, end, " ".join(words[n].text for n in taken)
