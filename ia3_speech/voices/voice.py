"""A voice: recordings with checked texts, and an adapter that is trained on them, and registered if
cross-validation prefers it.
"""

import hashlib
import io
import logging
import shutil
import threading
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ia3_speech.adapters import record, registry
from ia3_speech.adapters.card import adapter_labels
from ia3_speech.common import atomic
from ia3_speech.common.cli import CONFIGURATIONS
from ia3_speech.common.errors import TrainingError, UserError
from ia3_speech.common.formatting import fewer_errors, plural
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import directory
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.kaldi.table_file import unprintable_character
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.text import normalize, writing_hint
from ia3_speech.data.utterance import Utterance, find_problem, is_silent, load_utterances
from ia3_speech.model.location import HELD_OUT_SPEECH
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.significance import bootstrap_sums
from ia3_speech.training.config import TrainingOptions
from ia3_speech.voices.store import interrupted_by_removal, only_writer, store_of

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

logger = logging.getLogger(__name__)

OUT_OF_DOMAIN_STEP = 3  # every third of its 30 utterances is decoded: a minute, of six readers
MAX_OUT_OF_DOMAIN_ERRORS = 1.1  # relative to the errors of the earlier adapter
MIN_HOTWORD_LETTERS = 5  # a hot word's bonus is for the letters beyond the fourth
REPLACING = threading.Lock()  # a server may read a store while another request replaces it
DIGEST = 12  # hex digits of the SHA-256 of a recording's samples, the end of its utterance id


class Correction(NamedTuple):
    """A recording and its text; messages name it `where`. An empty `speaker` is the voice's."""

    where: str
    file: Path
    text: str
    speaker: str = ""


def read_store(name: str) -> list[Utterance]:
    """The corrections of an adapter, even if the folder was moved."""
    data, audio = store_of(name) / "data", store_of(name) / "audio"
    with REPLACING:
        utterances = read_data_directory(data, wav=False) if data.is_dir() else []
    return [replace(utterance, source=str(audio / f"{utterance.id}.flac")) for utterance in utterances]


def write_store(name: str, utterances: Sequence[Utterance]) -> None:
    """Replace the corrections of an adapter, and delete the recordings without a correction."""
    with REPLACING:
        if not utterances:
            shutil.rmtree(store_of(name))
            return
        write_data_directory(store_of(name) / "data", utterances)
    ids = {utterance.id for utterance in utterances}
    for file in (store_of(name) / "audio").iterdir():
        if file.stem not in ids:
            shutil.rmtree(file) if file.is_dir() else file.unlink()  # a folder: a killed writer left it


def store_recording(name: str, correction: Correction, wave: np.ndarray, base: "Base") -> str:
    """Store a recording of a voice, (samples,) at 16 kHz, with its text; a recording that is stored already
    gets the new text. The voice may have no adapter yet. Returns the utterance id. Raises UserError if the
    base can't learn it, or the store is locked."""
    import soundfile

    refuse_unusable(correction, wave, base)
    with only_writer(name):
        stored, copy = {utterance.id[-DIGEST:]: utterance for utterance in read_store(name)}, None
        if (digest := audio_digest(wave)) not in stored:
            speaker = speaker_of(registered(name)) if registry.is_registered(name) else name
            file = f"{correction.file.stem}-{digest}.flac"
            speaker, id = directory.UtteranceIds(1).assign(correction.speaker or speaker, file, 1)
            copy, content = store_of(name) / "audio" / f"{id}.flac", io.BytesIO()
            soundfile.write(content, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
            with atomic.replacing(copy) as new:
                new.write_bytes(content.getvalue())  # soundfile would not report a full disk
            stored[digest] = Utterance(id, speaker, id, str(copy), duration=len(wave) / SAMPLE_RATE)
        stored[digest] = replace(stored[digest], text=directory.collapse_whitespace(correction.text))
        try:
            write_store(name, [*stored.values()])
        except OSError:  # a full disk: no recording stays without its text
            if copy:
                copy.unlink()
            raise
    return stored[digest].id


def refuse_unusable(correction: Correction, wave: np.ndarray, base: "Base") -> None:
    """Raises UserError if the base can't learn the text of `wave`, (samples,) at 16 kHz."""
    from ia3_speech.training.data import Targets

    text = directory.collapse_whitespace(correction.text)
    utterance = Utterance(correction.file.name, "", "", "", text=text)
    targets = Targets(base, drop_unknown=True)
    if needs_words(base.vocabulary.letters):
        [utterance] = numbers_in_words([utterance], correction.where)
    problem = find_problem(wave, base.minimum_samples)
    if problem and (problem.fatal or is_silent(wave)):
        raise UserError(f"{correction.file}: {problem.reason}")
    if fault := unprintable_character(text):
        raise UserError(f"{fault} (in the text of {correction.file}: type it anew)")
    if unknown := targets.unknown_characters([utterance]):
        hint = writing_hint(list(unknown), "leave them out of the text")
        raise UserError(f"the base can't write {', '.join(unknown.values())} ({hint})")
    if fault := targets.fault(utterance, len(wave)):
        raise UserError(fault)


def delete_recordings(name: str, ids: Collection[str] = ()) -> tuple[int, int]:
    """Delete utterances, or all, with their recordings; returns how many were deleted and how many are left.
    Raises UserError for an unknown utterance, or if the store is locked."""
    with only_writer(name):
        corrections = read_store(name)
        if unknown := {*ids} - {utterance.id for utterance in corrections}:
            raise UserError(f"{name}: there is no correction {min(unknown)} (corrections list {name})")
        left = [utterance for utterance in corrections if ids and utterance.id not in ids]
        if store_of(name).exists():
            write_store(name, left)
    return len(corrections) - len(left), len(left)


def audio_digest(wave: np.ndarray) -> str:
    """An identifier of a recording by its samples `(samples,)`."""
    return hashlib.sha256(wave.tobytes()).hexdigest()[:DIGEST]


def registered(name: str) -> Path:
    """The folder of a registered adapter. Raises UnknownAdapter, with the nearest names."""
    if not registry.is_registered(name := registry.check_name(name)):
        if folder := registry.experiments().get(name):
            hint = f"ia3-speech adapters register {folder.parent} {name}"
            raise registry.UnknownAdapter(f"{name}: is not registered ({hint})")
        raise registry.UnknownAdapter(registry.not_found(name, Path(name)))
    return registry.adapters_dir() / name


def new_to(adapter: Path, corrections: Sequence[Utterance]) -> set[str]:
    """The ids of corrections on which an adapter was not trained, or not with their present texts."""
    trained_on = record.read_record(adapter).get("training", {}).get("corrections", {})
    return {utterance.id for utterance in corrections if trained_on.get(utterance.id) != checksum(utterance)}


def removed_from(adapter: Path, corrections: Sequence[Utterance]) -> set[str]:
    """The ids of recordings on which an adapter was trained, and which are no longer stored."""
    trained_on = record.read_record(adapter).get("training", {}).get("corrections", {})
    return {*trained_on} - {utterance.id for utterance in corrections}


def checksum(utterance: Utterance) -> int:
    """CRC-32 of the text: an adapter's record may be published, so it must not hold the text."""
    return zlib.crc32((utterance.text or "").encode())


def speaker_of(adapter: Path) -> str:
    """The speaker of an adapter: its label, or the only speaker of its data, else its name."""
    data = registry.training_data(adapter)
    speakers = read_data_directory(data, text=False, wav=False, spk_sort=False).speakers if data else {}
    only = min(speakers) if len(speakers) == 1 else adapter.name
    return adapter_labels(record.read_record(adapter)).get("speaker", only)


@dataclass(frozen=True)
class Learnt:
    """The result of training on corrections."""

    kept: bool  # whether the new adapter is registered
    reason: str  # why it is, or is not: the rest of a sentence
    comparison: str  # the errors of all systems that were compared, in words
    # Of `few_minutes.train_on_few`, with `missed` (see `missed_terms`; without known hot words)
    # (utterances that may be of another person); if there was an adapter, also `general`: the errors of both
    # on speech of other people, and its number of words
    summary: dict[str, Any]
    earlier: str | None = None  # the new name of the earlier adapter, if the new one took its name


def learn_voice(
    name: str, base: str | None = None, start: str | None = None, epochs: int | None = None
) -> Learnt:
    """Adapt again to all recordings of a name (see `ia3-speech corrections learn --help`). If no adapter has
    the name, the first adapter is registered if it makes fewer errors than the base. An adapter of another
    base is replaced if the new one makes fewer errors than its base, and than the old one on the old base.

    Args:
        base: the base to adapt; None: the adapter's base, mini for a new adapter.
        start: a registered adapter from which the folds may start, and whose language model and hot words
            a new adapter gets; None: training starts from the base.
        epochs: of training; None: as in the recipes.
    """
    adapter = registered(name) if registry.is_registered(name) else None
    start_folder = registered(start) if start else None
    with only_writer(name), interrupted_by_removal(name):
        corrections, work = read_store(name), store_of(name) / "work"
        moves = adapter is not None and is_of_another_base(adapter, base)
        new = {u.id for u in corrections} if moves or not adapter else new_to(adapter, corrections)
        if not new and not (adapter and removed_from(adapter, corrections)):
            raise UserError(f"{name}: there is nothing new to learn (corrections add {name} …)")
        try:
            known = trained_on_without(corrections, adapter) if adapter else []
            write_data_directory(work / "data", [*known, *corrections])
            labels = adapter_labels(record.read_record(adapter)) if adapter else {"speaker": name}
            changes = {"labels": labels} | ({"epochs": epochs} if epochs else {})
            if start_folder:  # by its name, the working directory would be searched first
                changes["init_adapter"] = str(start_folder)
            base = base or (adapter and record.read_record(adapter).get("base")) or "mini"
            options = few_options(base, work / "data", work / "exp", **changes)
            learnt = train_and_compare(None if moves else adapter, options, new)
            if moves:
                learnt = compare_with_old_base(adapter, learnt, corrections, options)
            if not learnt.kept:
                return learnt
            missed = learnt.summary["missed"]
            earlier = register_learnt(name, work / "exp/adapter", corrections, missed, start_folder)
            return replace(learnt, earlier=earlier)
        except TrainingError as error:
            raise TrainingError(str(error).replace(str(work / "data"), name)) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)


def is_of_another_base(adapter: Path, base: str | None) -> bool:
    from ia3_speech.model.base import load_base

    if base in (None, record.read_record(adapter).get("base")):
        return False
    return not record.same_base(record.read_record(adapter)["fingerprint"], load_base(base).fingerprint)


def compare_with_old_base(
    adapter: Path, learnt: Learnt, corrections: Sequence[Utterance], options: TrainingOptions
) -> Learnt:
    """What was learnt on a new base; it is kept only if its WER is below that of the adapter on its old base,
    on the same held-out utterances: by its record, or folds are trained again there. If the old base is gone,
    only the new base is compared."""
    from ia3_speech.training.few_minutes import train_on_few

    known = record.read_record(adapter)
    old, training = known.get("base"), known.get("training", {})
    is_recorded = "folds" in training and {*training.get("trained_on", ())} == {*learnt.summary["trained_on"]}
    if not is_recorded or new_to(adapter, corrections):
        try:
            training = train_on_few(replace(options, base=old, out=options.out.with_name("exp_old")))
        except UserError as error:
            return replace(learnt, comparison=f"{learnt.comparison}; the old base can't be used: {error}")
    errors, words = training["errors"], training["words"]
    learnt = replace(learnt, comparison=f"{learnt.comparison}; on the old base {errors} of {words} words")
    if learnt.kept and learnt.summary["errors"] / learnt.summary["words"] >= errors / words:
        learnt = replace(learnt, kept=False, reason="it makes no fewer errors than the old one on its base")
    return learnt


def few_options(base: str, data: Path, out: Path, **changes: Any) -> TrainingOptions:
    """The recipes' options for a few minutes of speech. Unusable utterances are skipped, as they were when
    the old adapter was trained."""
    import yaml

    few = yaml.safe_load((CONFIGURATIONS / "few.yaml").read_text("utf-8"))
    few |= {"drop_chars": True, "on_error": "skip"}
    return TrainingOptions(base=base, train=data, out=out, **few | changes)


def trained_on_without(corrections: Sequence[Utterance], adapter: Path) -> list[Utterance]:
    """The training data of an adapter, if they still exist, without the corrected recordings."""
    if (data := registry.training_data(adapter)) is None:
        logger.warning(
            "the adapter's training data are not here: the new one learns from the corrections alone"
        )
        return []
    corrected, bad = {utterance.id[-DIGEST:] for utterance in corrections}, []
    known = read_data_directory(data, wav=False, spk_sort=False)
    waves = load_utterances(known, on_error="skip", bad=bad, progress=None)
    utterances = [utterance for utterance, wave in waves if audio_digest(wave) not in corrected]
    for fault in bad:
        logger.warning("%s", fault)
    return utterances


def train_and_compare(adapter: Path | None, options: TrainingOptions, new: set[str]) -> Learnt:
    """Train; then compare the folds' adapters, on the utterances that they were not trained on, with the base
    and with the earlier adapter (`adapter`, else the start), and the new adapter with `adapter` on other
    speech.

    The earlier adapter's errors count on the `new` utterances, which it does not know, and on those of which
    its record has the errors of its own folds.
    """
    from ia3_speech.model.base import load_base
    from ia3_speech.training.cross_validation import prepare
    from ia3_speech.training.data import read_examples
    from ia3_speech.training.few_minutes import train_on_few
    from ia3_speech.training.multi_adapter import measure_all
    from ia3_speech.training.segmentation import segment_data_directory

    base = load_base(options.base)
    segment_data_directory(options.train, options.train, base)  # recordings of minutes
    examples = read_examples(options.train, base, options, [1.0], lambda u: u.recording in new) if new else []
    earlier = adapter or (Path(options.init_adapter) if options.init_adapter else None)
    known = record.read_record(adapter)["training"].get("held_out_errors", {}) if adapter else {}
    if earlier and examples:
        cache = prepare(base, options, str(earlier))
        known |= {m.utterance: m.errors for m in measure_all(cache, examples, options.normalize)}
    summary = train_on_few(options, base)
    if start := summary.get("init_adapter"):
        summary["init_adapter"] = Path(start).name
    files = (options.out / "folds").glob("*/task.json")
    texts = {id: text for file in files for id, text in record.read_json(file)["texts"].items()}
    pairs = [(example.utterance.text or "", texts[example.utterance.id]) for example in examples]
    words = [[normalize(text, options.normalize).split() for text in pair] for pair in pairs]
    summary["missed"] = new_hotwords(earlier, missed_terms(words), base)
    held_out, base_errors, errors = summary["held_out_errors"], summary["base_errors"], summary["errors"]
    comparison = f"errors on {plural(len(held_out), 'held-out sentence')}: base {base_errors}, new {errors}"
    change = fewer_errors((errors - base_errors) / base_errors if base_errors else None, summary["change_ci"])
    refusals = [] if errors < base_errors else ["it makes no fewer errors than the base"]
    if shared := sorted(held_out.keys() & known.keys()):
        before, after = (np.array([of[id] for id in shared]) for of in (known, held_out))
        where = "there" if len(shared) == len(held_out) else f"on {len(shared)} of them"
        comparison += f"; {'old adapter' if adapter else 'start'} {before.sum()}, new {where} {after.sum()}"
        draws = bootstrap_sums({"more": after - before})["more"]
        if np.quantile(draws, 0.025) > 0:  # of the 95 % interval
            refusals.append("it makes clearly more errors than the old one")
    if adapter and not refusals:
        others = read_examples(HELD_OUT_SPEECH, base, options, [1.0])[::OUT_OF_DOMAIN_STEP]
        counts = []
        for folder in (adapter, options.out / "adapter"):
            measures = measure_all(prepare(base, options, str(folder)), others, options.normalize)
            counts.append(sum(measure.errors for measure in measures))
        summary["general"] = [*counts, sum(measure.words for measure in measures)]
        comparison += f"; other people's speech: old {counts[0]}, new {counts[1]}"
        if counts[1] > MAX_OUT_OF_DOMAIN_ERRORS * counts[0]:
            refusals.append("other people's speech has too many more errors")
    reason = " and ".join(refusals) or f"it makes {change} than the base"
    return Learnt(not refusals, reason, comparison, summary)


def missed_terms(utterances: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """Long words in several references of `utterances`, (reference, hypothesis), correct in no hypothesis."""
    counts = Counter(word for reference, _ in utterances for word in {*reference})
    pairs = (words for utterance in utterances for words in align(*utterance))
    correct = {reference for reference, hypothesis in pairs if reference == hypothesis}
    long = {word: count for word, count in counts.items() if len(word) >= MIN_HOTWORD_LETTERS}
    return [word for word, count in long.items() if count > 1 and word not in correct]


def new_hotwords(adapter: Path | None, missed: Sequence[str], base: "Base") -> list[str]:
    """The missed terms that are not yet hot words of the adapter; `followup` is equal to `follow-up`."""
    from ia3_speech.decoding.hotword_search import Hotword, read_hotwords, usable

    stored = adapter / record.STORED_HOTWORDS if adapter else Path()
    known = read_hotwords(stored) if stored.is_file() else []
    terms = usable([*known, *map(Hotword, missed)], base.vocabulary)
    return [term.text for term in terms if term not in known]


def register_learnt(
    name: str, adapter: Path, corrections: Sequence[Utterance], missed: Sequence[str], start: Path | None
) -> str | None:
    """Register the new adapter, with missed terms as hot words, and the language model and hot words of the
    earlier adapter, else of the start. Returns the earlier adapter's new name."""
    earlier = registered(name) if registry.is_registered(name) else None
    metadata, data = record.read_record(adapter), earlier and registry.training_data(earlier)
    training, old = metadata["training"], record.read_record(earlier) if earlier else {}
    training["data"] = data and str(data)
    training["corrections"] = {utterance.id: checksum(utterance) for utterance in corrections}
    if path := training.get("init_adapter"):
        training["init_adapter"] = Path(path).name
    contents = registry.file_contents(source) if (source := earlier or start) else {}
    files = {name: contents[name] for name in record.SEARCH_FILES if name in contents}
    same_base = old and record.same_base(old["fingerprint"], metadata["fingerprint"])
    if same_base and record.GATE in contents and not (adapter / record.GATE).exists():
        files[record.GATE] = contents[record.GATE]
        metadata |= {"gate": old["gate"]} if "gate" in old else {}
    record.write_record(adapter, metadata)
    names = {*registry.registered_names(), name}
    if missed:
        stored = files.get(record.STORED_HOTWORDS, b"").decode("utf-8").splitlines()
        lines = dict.fromkeys([*stored, *missed])
        files[record.STORED_HOTWORDS] = "".join(f"{line}\n" for line in lines).encode()
        files.setdefault(record.STORED_LM_WEIGHTS, b"{}\n")
    registry.register(adapter, name, keep=True, search_files=files)
    return min({*registry.registered_names()} - names, default=None)
