"""An adapter on another base, learnt from speech without texts (`ia3-speech adapters migrate`).

In: an adapter, the new base, speech of the adapter's kind. Out, in OUT: what `train` writes, and

    labels/train, labels/dev    data directories with the texts of the old base and its adapter; dev is every
                                fifth utterance or part (of fewer than fifty, every third)
    labels/left_out             a line for each recording that is not learnt, with the reason

The new base learns from texts, so it may have another vocabulary, or be of another kind. Words are selected
by confidence, as in self-training. (Trans-LoRA, Wang et al. 2024, arXiv 2405.17258, transfers adapters of
language models by text that they write.)
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ia3_speech import atomic
from ia3_speech.adapters.card import adapter_labels
from ia3_speech.adapters.record import SEARCH_FILES, read_record, read_summary, same_base, write_record
from ia3_speech.adapters.spec import AdapterSpec, term_at
from ia3_speech.adapters.weights import tensor_files, weights_sha256
from ia3_speech.cli import CONFIGURATIONS
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import write_data_directory
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.utterance import Utterance
from ia3_speech.errors import AdapterError, BaseError, TrainingError
from ia3_speech.formatting import plural, shorten
from ia3_speech.inputs import Inputs
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.location import base_files
from ia3_speech.search import SearchOptions
from ia3_speech.session import load
from ia3_speech.training.config import TrainingOptions, check_options, replay_folder, training_inputs
from ia3_speech.training.data import targets_of
from ia3_speech.training.run import run_lock, train
from ia3_speech.unsupervised.options import MigrationOptions, SelfTrainingOptions
from ia3_speech.unsupervised.self_training import (
    FEW,
    MIN_LABELS,
    MIN_RECORDINGS,
    SelfTraining,
    confident_labels,
    pieces,
    read_recordings,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Migration:
    """A run; see the module."""

    adapter: Path  # the old one
    base: Base  # the new one
    labelling: SelfTraining  # by the old base
    training: TrainingOptions

    @classmethod
    def prepare(cls, adapter: Path, options: MigrationOptions) -> "Migration":
        """The run of the options. Raises UserError if a base is gone, the adapter is of the new base already,
        or an option is wrong."""
        record, base = read_summary(adapter), load_base(options.base, device=options.device)
        if same_base(record.get("fingerprint", {}), base.fingerprint):
            raise AdapterError(f"{adapter}: is an adapter of {base.name} already (`base` is the new base)")
        old_base = AdapterSpec((term_at(adapter.name, adapter),)).base(options.old_base)
        shared = {"device": options.device, "allow_pipes": options.allow_pipes, "on_error": "skip"}
        data = options.data or replay_folder("shipped")
        labelling = SelfTrainingOptions(
            base=old_base, data=data, out=options.out, min_confidence=options.min_confidence, **shared
        )
        is_whisper = "windows" in base.abilities
        configuration = CONFIGURATIONS / ("whisper.yaml" if is_whisper else "ia3_plus.yaml")
        language = options.language or record.get("config", {}).get("language") or "en"
        labels = options.out / "labels"
        places = {"train": labels / "train", "dev": labels / "dev", "out": options.out}
        training = TrainingOptions(
            base=options.base, labels=adapter_labels(record), language=language, **places, **shared,
            **yaml.safe_load(configuration.read_text("utf-8")),
        )  # fmt: skip
        for each in (labelling, training):
            check_options(each)
        try:
            load(old_base, adapter=str(adapter), device=options.device)
        except BaseError as error:
            hint = "" if options.old_base else f" ({adapter} records it; give its folder as `old_base`)"
            raise BaseError(f"{error}{hint}") from None
        migration = cls(adapter, base, SelfTraining(labelling, SearchOptions()), training)
        migration.labelling.check()
        return migration

    def inputs(self) -> Inputs:
        """The inputs that decide the new adapter."""
        search = [file for name in SEARCH_FILES if (file := self.adapter / name).is_file()]
        old = {"adapter": [*tensor_files(self.adapter), *search]}
        options = self.labelling.options
        return training_inputs(
            self.training,
            {"data": options.data, "old_base": base_files(options.base)} | old,
            labels=self.training.labels,
            min_confidence=options.min_confidence,
        )

    def run(self) -> dict[str, Any]:
        """Write the texts and train, or resume. Returns the contents of train.json: those of `train`, whose
        WERs compare with the old adapter's texts; recordings, and the number of those left out."""
        counts = self.write_labels()
        out, options = self.training.out, self.labelling.options
        summary = train(self.training) | counts
        record = read_record(out / "adapter")
        old = {"name": self.adapter.name, "base": options.base, "sha256": weights_sha256(self.adapter)}
        record["training"] |= counts | {"migrated_from": old}
        write_record(out / "adapter", record)
        atomic.write_json(out / "train.json", summary)
        return summary

    def write_labels(self) -> dict[str, int]:
        """Write OUT/labels. Returns the numbers of recordings, or of their pieces, and of those left out.
        Raises TrainingError if too few texts are left."""
        options = self.labelling.options
        folder = options.out / "labels"
        utterances, left_out = read_recordings(options.data, options.allow_pipes)
        if len(utterances) < MIN_RECORDINGS:  # a lecture
            utterances = [*pieces(utterances, options)]
        with run_lock(folder):
            decoding = self.labelling.label(folder / "hypotheses.json", utterances, str(self.adapter))
            bad = {fault.utterance: str(fault) for fault in decoding.bad if fault.left_out}
            labels = confident_labels(utterances, decoding, options.min_confidence, self.base.maximum_seconds)
            labels, faults = self.writable(labels)
            with_labels = {name for each in labels for name in (each.id, each.id.rpartition("-")[0])}
            left_out = [*left_out, *bad.values(), *faults]
            for id in [u.id for u in utterances if u.id not in with_labels | bad.keys()]:
                reason = "its words are not certain" if decoding.words.get(id) else "no word was recognised"
                left_out.append(f"{id}: {reason}")
            if len(labels) >= MIN_LABELS:
                every = 3 if len(labels) < FEW else 5
                learnt = [label for number, label in enumerate(labels, 1) if number % every]
                write_data_directory(folder / "train", learnt)
                write_data_directory(folder / "dev", labels[every - 1 :: every])
                atomic.write_text(folder / "left_out", "".join(f"{line}\n" for line in left_out))
        if len(labels) < MIN_LABELS:
            shutil.rmtree(folder)  # the next attempt has other recordings
            raise TrainingError(
                f"{options.data}: {plural(len(labels), 'confident text')}, and {MIN_LABELS} are needed (is it"
                f" speech of the adapter's kind? `min_confidence={options.min_confidence:g}`); left out: "
                f"{shorten(left_out, '; ')}"
            )
        if left_out:
            logger.warning(
                "%s: %s left out: %s (%s lists them)",
                *(options.data, plural(len(left_out), "utterance"), shorten(left_out, "; ", 5)),
                folder / "left_out",
            )
        return {"recordings": len(utterances), "left_out": len(left_out)}

    def writable(self, labels: Sequence[Utterance]) -> tuple[list[Utterance], list[str]]:
        """The labels that the new base can learn, and a line on each of the others."""
        targets, vocabulary = targets_of(self.base, self.training), self.base.vocabulary
        if needs_words(vocabulary.letters):
            labels = numbers_in_words(labels, str(self.training.train.parent))
        learnt, faults = [], []
        for label in labels:
            if missing := "".join(vocabulary.missing([targets.text(label)])):
                faults.append(f"{label.id}: the new base can't write {missing}")
            elif fault := targets.fault(label, round(label.duration * SAMPLE_RATE)):
                faults.append(fault)
            else:
                learnt.append(label)
        return learnt, faults
