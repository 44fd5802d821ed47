"""An adapter on another base, learnt from speech without texts (`ia3-speech adapters migrate`).

In: an adapter, the new base, speech of the adapter's kind. Out, in OUT: what `train` writes, and

    labels/train, labels/dev   data directories with texts of the old base and its adapter; dev is every fifth
                               utterance or part (of fewer than fifty, every third)
    labels/left_out            a line for each utterance of which nothing is learnt, with the reason

The new base learns texts, so it may have another vocabulary, or be of another kind. Words are selected as in
self-training. (Trans-LoRA, Wang et al. 2024, arXiv 2405.17258, does so with synthetic text, for language
models.)
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from ia3_speech import atomic
from ia3_speech.adapters.card import adapter_labels
from ia3_speech.adapters.record import (
    SEARCH_FILES,
    read_json,
    read_record,
    read_summary,
    same_base,
    write_record,
)
from ia3_speech.adapters.spec import AdapterSpec, term_at
from ia3_speech.adapters.weights import tensor_files
from ia3_speech.cli import CONFIGURATIONS
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.errors import AdapterError, BaseError, TrainingError
from ia3_speech.formatting import percent, plural, shorten
from ia3_speech.inputs import Inputs
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.location import base_files
from ia3_speech.routing.gate import add_gate_of_training
from ia3_speech.search import SearchOptions
from ia3_speech.session import load
from ia3_speech.training.config import TrainingOptions, check_options, replay_folder, training_inputs
from ia3_speech.training.data import targets_of
from ia3_speech.training.run import run_lock, train
from ia3_speech.unsupervised import self_training
from ia3_speech.unsupervised.options import MigrationOptions, SelfTrainingOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Migration:
    """A run; see the module."""

    adapter: Path  # the old one
    base: Base  # the new one
    labelling: self_training.SelfTraining  # by the old base
    training: TrainingOptions

    @classmethod
    def prepare(cls, adapter: Path, options: MigrationOptions) -> "Migration":
        """The run of the options. Raises UserError if a base is gone, the adapter is of the new base already,
        or an option is wrong."""
        record, base = read_summary(adapter), load_base(options.base)
        if same_base(record.get("fingerprint", {}), base.fingerprint):
            raise AdapterError(f"{adapter}: is an adapter of {base.name} already (`base` is the new base)")
        old_base = AdapterSpec((term_at(adapter.name, adapter),)).base(options.old_base)
        shared = {"allow_pipes": options.allow_pipes, "on_error": "skip"}
        data = {"data": options.data or replay_folder("shipped"), "min_confidence": options.min_confidence}
        labelling = SelfTrainingOptions(base=old_base, out=options.out, **data, **shared)
        recipe = "whisper.yaml" if "choice of windows" in base.abilities else "ia3_plus.yaml"
        shared |= yaml.safe_load((CONFIGURATIONS / recipe).read_text("utf-8"))
        shared["language"] = options.language or record.get("config", {}).get("language") or "en"
        places = {name: options.out / "labels" / name for name in ("train", "dev")} | {"out": options.out}
        shared |= {"base": options.base}
        training = TrainingOptions(labels=adapter_labels(record), **places, **shared)
        check_options(labelling)
        check_options(training)
        try:
            load(old_base, adapter=str(adapter))
        except BaseError as error:
            hint = "" if options.old_base else f" ({adapter} records it; give its folder as `old_base`)"
            raise BaseError(f"{error}{hint}") from None
        migration = cls(adapter, base, self_training.SelfTraining(labelling, SearchOptions()), training)
        migration.labelling.check()
        return migration

    def inputs(self) -> Inputs:
        """The inputs that decide the new adapter."""
        options, search = self.labelling.options, [self.adapter / name for name in SEARCH_FILES]
        files = [*tensor_files(self.adapter), *(file for file in search if file.is_file())]
        sources = {"data": options.data, "adapter": files, "old_base": base_files(options.base)}
        more = {"labels": self.training.labels, "min_confidence": options.min_confidence}
        return training_inputs(self.training, sources, **more)

    def run(self) -> None:
        """Write the texts and train, or resume. The WERs of train.json compare with the old adapter's texts.
        Raises TrainingError if there are too few texts."""
        left_out, adapter, options = self.write_labels(), self.training.out / "adapter", self.training
        train(options)
        record = read_record(adapter)
        old = {"name": self.adapter.name, "base": self.labelling.options.base}
        record["training"] |= {"left_out": left_out, "migrated_from": old}
        write_record(adapter, record)
        # With the shipped speech `auto` would choose the adapter for any speech.
        if self.labelling.options.data != replay_folder("shipped"):
            pipes = options.allow_pipes
            learnt = read_data_directory(options.train, spk_sort=False, allow_pipes=pipes)
            add_gate_of_training(options.out, options.base, learnt.utterances, allow_pipes=pipes)

    def report(self, old: str) -> tuple[str | None, list[str]]:
        """Why the new adapter is no better than the new base, if so; and the result in sentences, which call
        the old adapter `old`."""
        summary = read_json(self.training.out / "train.json")
        place, minutes = f"{self.training.out}/adapter", f"{summary['audio_seconds'] / 60:.1f} minutes"
        before, after = (percent(summary[key]) for key in ("start_dev_wer", "dev_wer"))
        sentences = [
            f"{place}: learnt from {minutes}; in held-out speech it differs from {old} in {after} % of the "
            f"words, the new base alone in {before} %"
        ]
        if not summary["selected_epoch"]:
            return summary["note"], sentences
        hint = "try both on speech with texts before you switch"
        return None, [*sentences, f"{old} may be wrong where they differ: {hint}"]

    def search_files(self) -> tuple[dict[str, bytes], list[str]]:
        """File name → contents of the old adapter's search; and the files that the new base can't use."""
        files = [self.adapter / name for name in SEARCH_FILES if (self.adapter / name).is_file()]
        if "a language model" in self.base.abilities:
            return {file.name: file.read_bytes() for file in files}, []
        return {}, [file.name for file in files]

    def write_labels(self) -> int:
        """Write OUT/labels; returns how many utterances are left out."""
        options, folder = self.labelling.options, self.training.train.parent
        utterances, left_out = self_training.read_recordings(options.data, options.allow_pipes)
        if len(utterances) < self_training.MIN_RECORDINGS:  # a lecture
            utterances = [*self_training.pieces(utterances, options)]
        with run_lock(folder):
            decoding = self.labelling.label(folder / "hypotheses.json", utterances, str(self.adapter))
            targets, vocabulary = targets_of(self.base, self.training), self.base.vocabulary
            confident = self_training.confident_labels(
                utterances, decoding, options.min_confidence, self.base.maximum_seconds
            )
            labels = [label for label in confident if not vocabulary.missing([targets.text(label)])]
            bad = {fault.utterance: str(fault) for fault in decoding.bad if fault.left_out}
            used = {name for label in labels for name in (label.id, label.id.rpartition("-")[0])}
            unsure = [u.id for u in utterances if u.id not in used | bad.keys()]
            left_out += bad.values()
            left_out += [f"{id}: no certain words that the new base writes" for id in unsure]
            if len(labels) < self_training.MIN_LABELS:
                shutil.rmtree(folder)  # the next attempt has other recordings
                raise TrainingError(
                    f"{options.data}: {plural(len(labels), 'certain text')} (five are needed; "
                    f"`min_confidence={options.min_confidence:g}`): {shorten(left_out, '; ')}"
                )
            for name, chosen in zip(("train", "dev"), self_training.divide(labels), strict=True):
                write_data_directory(folder / name, chosen)
            atomic.write_text(folder / "left_out", "".join(f"{line}\n" for line in left_out))
        if left_out:
            listed = plural(len(left_out), "utterance"), shorten(left_out, "; ", 5), folder / "left_out"
            logger.warning("%s: %s left out: %s (listed in %s)", options.data, *listed)
        return len(left_out)
