"""Self-training: an adapter from recordings without texts, in rounds. What `ia3-speech self-train` does.

In: recordings, options of training and of the search. Out, in OUT: adapter/, config.yaml, train.json and
metrics.jsonl as `train` writes them; and for each round

    round1/train/   what was learnt: a data directory with pseudo-labels
    round1/fit/     every fifth of these utterances, of few all: whether training works
    round1/exp/     its training, as `train` writes it

Pseudo-labels are what a recogniser hears, as far as it hears it again when the audio is played slower and
faster, and is sure of it: whole utterances, else the parts all of whose words are so:

    the patient    denies     chest    pain       words
    the patient    the knees  chest    pain       at 0.9 times the speed; another at 1.1
       .93  .95       .81       .68     .91       confidences, which `calibrate` makes probabilities
    |-----------|          |---------------|      two parts: "the patient" and "chest pain"

Wrong words in the targets teach the recogniser its own errors (confirmation bias: Kahn et al. 2020,
"Self-training for end-to-end speech recognition", arXiv 1909.09116, whose filter judges whole utterances).
Confidence alone misses many of them on speech that the recogniser does not know, where it is sure of what is
wrong. Agreement needs no calibration (Khurana et al. 2021, arXiv 2011.13439, whose copies differ by dropout;
what each is worth here: egs/without_transcripts/README.md).

Each round labels the recordings with the adapter of the last one, the first with the start, and trains anew
from the start, to the end of its epochs. There are no texts to choose a round by. What a recogniser writes
alone comes nearer to what it writes with its language model as it gets better: the criterion is the word
error rate of its greedy text against its own text by beam search, on every fifth recording (of fewer than
fifty, every third), which is not learnt: on what it learnt, any adapter agrees with itself. The start's text
as the reference would not do: on dev of speechocean762 an adapter that made a tenth fewer errors was further
from it than the start, also where the start was certain.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from ia3_speech import atomic
from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.adapters.record import read_json
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.kaldi.directory import UtteranceIds
from ia3_speech.data.recordings import find_recordings
from ia3_speech.data.utterance import BadAudio, Utterance
from ia3_speech.decoding.decode_directory import Decoding, decode_utterances, read_for_decoding
from ia3_speech.decoding.long_recordings import MAXIMUM_SECONDS, cut_utterance
from ia3_speech.decoding.transcript import Word
from ia3_speech.errors import AudioError, TrainingError, UserError
from ia3_speech.formatting import plural
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import load_base
from ia3_speech.scoring.alignment import ALIGN_TEXT, ErrorCounts, align, count_errors
from ia3_speech.search import SearchOptions
from ia3_speech.session import load
from ia3_speech.training.config import SharedOptions, TrainingOptions, to_yaml
from ia3_speech.training.run import prepare_base, run_lock, train
from ia3_speech.training.segmentation import known_seconds
from ia3_speech.unsupervised.options import SelfTrainingOptions

logger = logging.getLogger(__name__)

LEARNT = ("learnt_utterances", "learnt_words", "learnt_minutes", "disagreement")
FEWEST = 5  # utterances to learn from
FEWEST_WORDS = 2  # of a part: one word, cut out of its context, is heard worse than it was there
FIFTH = 5  # every fifth recording is held out, and every fifth label shows whether training works
LEAST_HEARD = 0.9  # of the start's words: fewer count as errors
SPEEDS = 0.9, 1.1  # at which a word has to be heard again
FEW, THIRD = 50, 3  # of fewer recordings every third is held out, and all labels show whether training works
BATCH_SECONDS, EPOCH_MINUTES = 20.0, 1.5  # of a round's training, which may have a minute of speech


@dataclass
class SelfTraining:
    """One run; see the module. `search`: how recordings are labelled: by beam search, where it leaves that
    open."""

    options: SelfTrainingOptions
    search: SearchOptions

    def check(self) -> None:
        """Raises TrainingError where pseudo-labels could come to lie over texts, or options are wrong."""
        data, out = self.options.data.resolve(), self.options.out.resolve()
        if data.is_relative_to(out) or out.is_relative_to(data):
            raise TrainingError(
                f"--out {self.options.out} and --data {self.options.data} lie in one another (give an --out "
                f"elsewhere: nothing is written beside recordings, and no text is replaced)"
            )
        if self.search.search == "greedy":
            raise TrainingError("--search greedy: recordings are labelled by beam search (leave it out)")
        if self.options.rounds < 1 or not 0 <= self.options.min_confidence <= 1:
            raise TrainingError("rounds has to be at least 1, and min_confidence from 0 to 1")

    def run(self) -> dict[str, Any]:
        """Train, or resume.

        Returns:
            The contents of train.json: those of the selected round's training, without a dev WER; recordings,
            left_out (lines on those that can't be used), selected_round (0: the start), start_disagreement;
            rounds: of each utterances, words and minutes that were learnt, and its disagreement, the
            criterion (see the module), a fraction; where the start was kept, a note that says why.

        Raises:
            TrainingError, UserError: the options or the recordings can't be used, or another run is writing
                to `out`.
        """
        self.check()
        with run_lock(self.options.out):
            started = time.monotonic()
            utterances, unread = read_recordings(self.options.data, self.options.allow_pipes)
            recordings = len(utterances) + len(unread)
            if len(utterances) < THIRD:  # a lecture: of its pieces some are learnt, and others held out
                utterances = [*pieces(utterances, self.options)]
            decoding = self.label(self.options.out / "heard.json", utterances, self.options.init_adapter)
            left_out = [*unread, *(str(fault) for fault in decoding.bad if fault.left_out)]
            for line in left_out:
                logger.warning("%s", line)
            if left_out:
                logger.warning("%s: %s left out", self.options.data, plural(len(left_out), "recording"))
            unusable = len(left_out) == len(utterances) + len(unread)
            if unusable or len(utterances) < THIRD:
                few = f"{plural(len(utterances), 'recording')} won't do (it takes three, or a minute)"
                fault = "no recording can be used" if unusable else few
                for file in self.options.out.glob("heard*.json"):  # the next attempt has other recordings
                    file.unlink()
                raise TrainingError(f"{self.options.data}: {fault}")
            rounds, selected, note = self.train_rounds(utterances, decoding)
            summary = {
                **(rounds[selected - 1] if selected else {"seed": self.options.seed, "selected_epoch": 0}),
                "recordings": recordings,
                "left_out": left_out,
                "selected_round": selected,
                "rounds": [{name: each[name] for name in LEARNT} for each in rounds],
                **({} if selected else {"note": note}),
            }
            for name in ("dev_wer", "start_dev_wer"):  # of round1/fit
                summary.pop(name, None)
            self.save(summary, started)
            return summary

    def label(self, file: Path, utterances: Sequence[Utterance], adapter: str | None) -> Decoding:
        """What the base with an adapter hears by beam search; a word that it does not hear at each of SPEEDS
        too has no confidence. Without a filter the speeds are left out."""
        heard = self.listen(file, utterances, adapter, "beam")
        for speed in SPEEDS if self.options.min_confidence else ():
            again = self.listen(file.with_suffix(f".{speed}.json"), utterances, adapter, "beam", speed)
            heard.words = {id: heard_again(words, again.texts[id]) for id, words in heard.words.items()}
        return heard

    def listen(
        self,
        file: Path,
        utterances: Sequence[Utterance],
        adapter: str | None,
        search: Literal["greedy", "beam"],
        speed: float = 1.0,
    ) -> Decoding:
        """What the base with an adapter hears in recordings; kept in `file`, and read where that is there."""
        if not file.is_file():
            options = self.options
            searched = replace(self.search, search=search) if search == "beam" else SearchOptions("greedy")
            model = {"adapter": adapter, "device": options.device, "precision": options.precision}
            recognizer = load(options.base, search=searched, **model).recognizer
            reading = {"on_error": options.on_error, "allow_pipes": options.allow_pipes}
            decoding = decode_utterances(recognizer, utterances, with_words=True, speed=speed, **reading)
            words = {id: [astuple(word)[:4] for word in heard] for id, heard in decoding.words.items()}
            atomic.write_json(file, {"words": words, "bad": [astuple(fault) for fault in decoding.bad]})
        heard = read_json(file)
        words = {id: tuple(Word(*word) for word in of_one) for id, of_one in heard["words"].items()}
        texts = {u.id: " ".join(word.text for word in words.get(u.id, ())) for u in utterances}
        return Decoding(texts, [BadAudio(*fault) for fault in heard["bad"]], words)

    def train_rounds(
        self, utterances: Sequence[Utterance], decoding: Decoding
    ) -> tuple[list[dict[str, Any]], int, str]:
        """Train the rounds. Returns what each came to, the number of the best, 0 for the start, and why it
        would be 0. `decoding` is what the start hears."""
        rounds: list[dict[str, Any]] = []
        selected, note = 0, "no round came nearer to its own text with a language model than the start"
        few = len(utterances) < FEW
        every = THIRD if few else FIFTH
        held_out = utterances[every - 1 :: every]
        learnt = [utterance for number, utterance in enumerate(utterances, 1) if number % every]
        words = sum(len(decoding.texts[utterance.id].split()) for utterance in held_out)
        maximum = load_base(self.options.base, device="cpu").maximum_seconds
        start = best = math.inf
        for number in range(1, self.options.rounds + 1):
            folder = self.options.out / f"round{number}"
            labels = confident_labels(learnt, decoding, self.options.min_confidence, maximum)
            if len(labels) < FEWEST:
                heard = plural(sum(map(len, decoding.words.values())), "word")
                note = (
                    f"too few of the {heard} that were heard are certain (is there speech in the recordings, "
                    f"in the base's language? --min-confidence is {self.options.min_confidence:g})"
                )
                break
            write_data_directory(folder / "train", labels)
            write_data_directory(folder / "fit", labels if few else labels[FIFTH - 1 :: FIFTH])
            minutes = round(sum(label.duration for label in labels) / 60, 2)
            learnt_words = sum(len(label.text.split()) for label in labels)
            logger.info(
                "round %d: %d words, %.1f minutes (dev is a part of them: does training work?)",
                *(number, learnt_words, minutes),
            )
            summary = self.train_round(folder)
            if not summary["selected_epoch"]:
                note = "training came no nearer to what it learnt from (try a lower --learning-rate)"
                break
            if number == 1:
                start = best = self.disagreement(self.options.out, held_out, self.options.init_adapter, words)
            adapter = str(folder / "exp/adapter")
            criterion = self.disagreement(folder, held_out, adapter, words)
            numbers = len(labels), learnt_words, minutes, criterion
            rounds.append(summary | {"start_disagreement": start} | dict(zip(LEARNT, numbers, strict=True)))
            if criterion >= best:
                break
            best, selected = criterion, number
            if number < self.options.rounds:
                decoding = self.label(folder / "heard.json", utterances, adapter)
        return rounds, selected, note

    def disagreement(
        self, folder: Path, held_out: Sequence[Utterance], adapter: str | None, words: int
    ) -> float:
        """The word error rate of a recogniser's greedy text against its own text by beam search. Words
        that it lacks to 90 % of `words`, those of the start, are errors: silence agrees with itself. (A
        better one hears some fewer, in noise: of telephone calls 3 %, with 7 points of WER gained on dev.)"""
        greedy = self.listen(folder / "held_out_greedy.json", held_out, adapter, "greedy").texts
        beam = self.listen(folder / "held_out_beam.json", held_out, adapter, "beam").texts
        counts = [count_errors(beam[u.id].split(), greedy[u.id].split()) for u in held_out]
        total = sum(counts, ErrorCounts())
        missing = max(0, round(LEAST_HEARD * words) - total.words)
        return (total.total + missing) / max(1, total.words + missing)

    def train_round(self, folder: Path) -> dict[str, Any]:
        """Train on FOLDER/train; returns the contents of train.json, read where the training is complete."""
        if (folder / "exp/train.json").is_file():
            return read_json(folder / "exp/train.json")
        shared = {each.name: getattr(self.options, each.name) for each in fields(SharedOptions)}
        shared |= {"on_error": "skip", "batch_seconds": BATCH_SECONDS, "epoch_minutes": EPOCH_MINUTES}
        shared["patience"] = self.options.epochs
        places = {"out": folder / "exp", "train": folder / "train", "dev": folder / "fit"}
        return train(TrainingOptions(**shared, **places))

    def save(self, summary: dict[str, Any], started: float) -> None:
        """Write the adapter of the selected round, or the start as one; the options, the summary."""
        folder, selected = self.options.out / f"round{summary['selected_round']}", summary["selected_round"]
        adapter = str(folder / "exp/adapter") if selected else self.options.init_adapter
        base = load_base(self.options.base, device="cpu")
        prepare_base(base, replace(self.options, init_adapter=adapter))
        summary["trainable"] = sum(p.numel() for _, p in trainable(base.model))
        summary["seconds"] = round(time.monotonic() - started, 1)
        training = {name: value for name, value in summary.items() if name not in ("left_out", "rounds")}
        training |= {"recordings_without_texts": str(self.options.data)}
        if selected:
            training |= {"data": str(folder / "train"), "learning_rate": self.options.learning_rate}
        if self.options.init_adapter:
            training["init_adapter"] = self.options.init_adapter
        labels = labels_of_trained(self.options.init_adapter, {})
        save_adapter(base.model, self.options.out / "adapter", base=base, labels=labels, training=training)
        atomic.write_text(self.options.out / "config.yaml", to_yaml(self.options))
        if (metrics := folder / "exp/metrics.jsonl").is_file():
            atomic.write_text(self.options.out / "metrics.jsonl", metrics.read_text("utf-8"))
        atomic.write_json(self.options.out / "train.json", summary)


# ---- pseudo-labels


def read_recordings(data: Path, allow_pipes: bool = False) -> tuple[list[Utterance], list[str]]:
    """The recordings of a Kaldi data directory, whose `text` is not read, or of a folder, where each is a
    speaker of its own; and a line for each file there that is of no known format."""
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
    maximum, ids = (
        load_base(options.base, device="cpu").maximum_seconds or MAXIMUM_SECONDS,
        ids_of(utterances),
    )
    for utterance in utterances:
        length, cut = known_seconds(utterance), [utterance]
        with suppress(AudioError):  # listening to it names it
            cut = cut_utterance(utterance, length, maximum, allow_pipes=options.allow_pipes)
        for number, one in enumerate(cut, 1):
            yield replace(one, id=ids.make_unique(f"{one.id}-{number:04d}") if len(cut) > 1 else one.id)


def ids_of(utterances: Sequence[Utterance]) -> UtteranceIds:
    """Their ids, as taken: the first part of `call` must not be called as another recording, `call-001`."""
    ids = UtteranceIds(len(utterances))
    for utterance in utterances:
        ids.make_unique(utterance.id)
    return ids


def heard_again(words: Sequence[Word], text: str) -> tuple[Word, ...]:
    """Words, without confidence where an alignment finds another in `text`, or none."""
    pairs = align(text.split(), [word.text for word in words], ALIGN_TEXT)
    same = [reference == hypothesis for reference, hypothesis in pairs if hypothesis is not None]
    return tuple(w if kept else replace(w, confidence=0.0) for w, kept in zip(words, same, strict=True))


def confident_labels(
    utterances: Sequence[Utterance], decoding: Decoding, least: float, maximum_seconds: float | None
) -> list[Utterance]:
    """What can be learnt: whole utterances each of whose words has the confidence `least`, and of the others,
    and of those longer than `maximum_seconds`, the parts of two words or more that have it."""
    maximum, labels, ids = maximum_seconds or MAXIMUM_SECONDS, [], ids_of(utterances)
    for utterance in utterances:
        if not (words := decoding.words.get(utterance.id)):
            continue
        length, offset = known_seconds(utterance), utterance.start or 0.0
        length = words[-1].end if math.isnan(length) else length  # of a shell pipe
        if min(word.confidence for word in words) >= least and length <= maximum:
            parts = [(0.0, length, decoding.texts[utterance.id])]
        else:
            parts = [*confident_parts(words, length, least, maximum)]
        for number, (start, end, text) in enumerate(parts, 1):
            id = utterance.id if len(parts) == 1 else ids.make_unique(f"{utterance.id}-{number:03d}")
            times = {"start": offset + start, "end": offset + end, "duration": end - start}
            labels.append(replace(utterance, id=id, text=text, **times))
    return labels


def confident_parts(
    words: Sequence[Word], length: float, least: float, maximum: float
) -> Iterator[tuple[float, float, str]]:
    """Start and end, in seconds, and the text of each part whose words all have the confidence `least`. It
    begins and ends halfway to its neighbours, at most 0.5 s from its words, and has at most `maximum` s."""
    numbers = range(len(words))
    for confident, run in groupby(numbers, lambda number: words[number].confidence >= least):
        run = [*run]
        while confident and len(run) >= FEWEST_WORDS:
            taken = [n for n in run if words[n].end - words[run[0]].start <= maximum - 1.0] or run[:1]
            run = run[len(taken) :]
            first, last = words[taken[0]], words[taken[-1]]
            before = words[taken[0] - 1].end if taken[0] else -1.0
            after = words[taken[-1] + 1].start if taken[-1] + 1 < len(words) else length + 1.0
            start = max(0.0, first.start - 0.5, (before + first.start) / 2 if taken[0] else 0.0)
            end = min(length, last.end + 0.5, (last.end + after) / 2)
            yield start, end, " ".join(words[n].text for n in taken)
