"""What is known of a voice: recordings with what was really said in them, and learning from them.

In: recordings and texts under a name, that of an adapter which is registered or to be made. Out: its store,
where `ia3-speech corrections --help` says, and an adapter, which is registered where folds find it better.
"""

import hashlib
import io
import shutil
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ia3_speech import atomic
from ia3_speech.adapters import registry
from ia3_speech.adapters.card import adapter_labels
from ia3_speech.adapters.record import (
    FILES,
    GATE,
    LM_WEIGHTS,
    SEARCH_FILES,
    STORED_HOTWORDS,
    read_json,
    read_record,
    recorded_base,
    write_record,
)
from ia3_speech.cli import CONFIGURATIONS
from ia3_speech.corrections.store import interrupted_by_removal, only_writer, store_of
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import DataDirectory, read_data_directory, write_data_directory
from ia3_speech.data.kaldi.directory import UtteranceIds, collapse_whitespace
from ia3_speech.data.kaldi.table_file import unprintable_character
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.text import normalize, writing_hint
from ia3_speech.data.utterance import Utterance, find_problem, is_silent, load_utterances
from ia3_speech.errors import TrainingError, UserError
from ia3_speech.formatting import plural
from ia3_speech.scoring.alignment import align, count_errors
from ia3_speech.training.config import NEAREST, TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from ia3_speech.model.base import Base

GENERAL = Path(__file__).parents[1] / "out_of_domain/librispeech_dev"  # other people's speech
GENERAL_STEP = 3  # of its 30 utterances every third is decoded: a minute, of six readers
MOST_GENERAL_ERRORS = 1.1  # times those of the earlier adapter
MISSED_LETTERS = 5  # of a hot word: a bonus is for the letters beyond the fourth
REPLACING = threading.Lock()  # a server reads a store for one request while it replaces it for another
DIGEST = 12  # hex digits of the SHA-256 of a recording's samples, with which its utterance's id ends


class Correction(NamedTuple):
    """What messages call it, a recording, what is said there, and by whom ("" where that is not known)."""

    where: str
    file: Path
    text: str
    speaker: str = ""


def read_store(name: str) -> list[Utterance]:
    """The corrections of an adapter, also where the folder has been moved."""
    data, audio = store_of(name) / "data", store_of(name) / "audio"
    with REPLACING:
        utterances = read_data_directory(data, wav=False) if data.is_dir() else []
    return [replace(utterance, source=str(audio / f"{utterance.id}.flac")) for utterance in utterances]


def write_store(name: str, utterances: Sequence[Utterance]) -> None:
    """Replace the corrections of an adapter, and delete the recordings that none of them names."""
    with REPLACING:
        if not utterances:
            shutil.rmtree(store_of(name))
            return
        write_data_directory(store_of(name) / "data", utterances)
    for file in (store_of(name) / "audio").iterdir():
        if file.stem not in {utterance.id for utterance in utterances}:
            shutil.rmtree(file) if file.is_dir() else file.unlink()  # a folder: of a writer that was killed


def registered(name: str) -> Path:
    """The folder of a registered adapter. Raises UnknownAdapter, with the nearest names."""
    if not registry.is_registered(name := registry.check_name(name)):
        if folders := registry.experiments().get(name):
            hint = f"ia3-speech adapters register {folders[0].parent} {name}"
            raise registry.UnknownAdapter(f"{name}: is not registered ({hint})")
        raise registry.UnknownAdapter(registry.not_found(name, Path(name)))
    return registry.adapters_dir() / name


def new_to(adapter: Path, corrections: Sequence[Utterance]) -> set[str]:
    """The corrections that an adapter has not learnt from, with the texts that they have now."""
    learnt = read_record(adapter).get("training", {}).get("corrections", {})
    return {utterance.id for utterance in corrections if learnt.get(utterance.id) != checksum(utterance)}


def checksum(utterance: Utterance) -> int:
    """CRC-32 of a text: the record of an adapter, which may be published, must not hold what was said."""
    return zlib.crc32((utterance.text or "").encode())


def store_recording(name: str, wave: "np.ndarray", text: str, base: "Base") -> str:
    """Store a recording of a voice, (samples,) at 16 kHz, and what is said there; → its utterance. The name
    need not be an adapter's yet. Raises UserError where it can't be learnt, or the store is locked."""
    with only_writer(name):
        speaker = speaker_of(registered(name)) if registry.is_registered(name) else name
        stored = {utterance.id[-DIGEST:]: utterance for utterance in read_store(name)}
        correction = Correction(name, Path("recording"), text, speaker)
        utterance = keep_recording(name, stored, correction, wave, base)
        write_store(name, [*stored.values()])
    return utterance.id


def delete_recordings(name: str, ids: Collection[str] = ()) -> tuple[int, int]:
    """Delete utterances, or all, and the copies of their recordings; → how many, and how many are left.
    Raises UserError where one of them is not there, or the store is locked."""
    with only_writer(name):
        corrections = read_store(name)
        if unknown := {*ids} - {utterance.id for utterance in corrections}:
            raise UserError(f"{name}: there is no correction {min(unknown)} (corrections list {name})")
        left = [utterance for utterance in corrections if ids and utterance.id not in ids]
        if store_of(name).exists():
            write_store(name, left)
    return len(corrections) - len(left), len(left)


def refuse_unusable(correction: Correction, wave: "np.ndarray", base: "Base") -> None:
    """Raises UserError where the base can't learn the text of `wave`, (samples,) at 16 kHz."""
    from ia3_speech.training.data import text_fault, unwritable_characters

    options, text = few_options(base.name, Path(), Path()), collapse_whitespace(correction.text)
    utterance = Utterance(correction.file.name, "", "", "", text=text)
    if needs_words(base.vocabulary.letters):
        [utterance] = numbers_in_words([utterance], correction.where)
    missing, described = unwritable_characters(DataDirectory(Path(), [utterance]), base, options)
    problem = find_problem(wave, base.minimum_samples)
    if problem and (problem.fatal or is_silent(wave)):
        raise UserError(f"{correction.file}: {problem.reason}")
    if fault := unprintable_character(text):
        raise UserError(f"{fault} (in the text of {correction.file}: type it anew)")
    if missing:
        hint = writing_hint(missing, "leave them out of the text")
        raise UserError(f"the base can't write {described} ({hint})")
    if fault := text_fault(utterance, len(wave), base, options):
        raise UserError(fault)


def audio_digest(wave: "np.ndarray") -> str:
    """What tells recordings apart, of their samples `(samples,)`."""
    return hashlib.sha256(wave.tobytes()).hexdigest()[:DIGEST]


def keep_recording(
    name: str, stored: dict[str, Utterance], correction: Correction, wave: "np.ndarray", base: "Base"
) -> Utterance:
    """Check a recording, and copy it into the store unless it is there; → its utterance, with the text, which
    `stored` has by its digest then. Raises UserError where it can't be learnt."""
    import soundfile

    refuse_unusable(correction, wave, base)
    if (digest := audio_digest(wave)) not in stored:
        file = f"{correction.file.stem}-{digest}.flac"
        speaker, id = UtteranceIds(1).assign(correction.speaker, file, 1)
        copy, content = store_of(name) / "audio" / f"{id}.flac", io.BytesIO()
        soundfile.write(content, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        with atomic.replacing(copy) as new:
            new.write_bytes(content.getvalue())  # soundfile would not say that the disk is full
        stored[digest] = Utterance(id, speaker, id, str(copy), duration=len(wave) / SAMPLE_RATE)
    stored[digest] = replace(stored[digest], text=collapse_whitespace(correction.text))
    return stored[digest]


def speaker_of(adapter: Path) -> str:
    """Whose an adapter is: by its labels, or the only speaker of its data; else its name stands for them."""
    data = registry.training_data(adapter)
    speakers = read_data_directory(data, text=False, wav=False, spk_sort=False).speakers if data else {}
    only = min(speakers) if len(speakers) == 1 else adapter.name
    return adapter_labels(read_record(adapter)).get("speaker", only)


@dataclass
class Learnt:
    """What learning came to.

    Attributes:
        kept: whether the new adapter is better, and so registered.
        comparison: the errors of both, in words.
        summary: as `few_run.train_on_few`; and missed, see `missed_terms`, without hot words that are there;
            and where there was an earlier adapter general, the errors of both on other people's speech, and
            its words.
        earlier: the name under which the earlier one is, None where there was none or it stays.
    """

    kept: bool
    comparison: str
    summary: dict[str, Any]
    earlier: str | None = None


def learn_voice(
    name: str, base: str | None = None, start: str | None = NEAREST, epochs: int | None = None
) -> Learnt:
    """Adapt again to everything that is known of a name, as `ia3-speech corrections learn` says; or, where no
    adapter has the name, make one of its recordings, and keep it if it makes fewer errors than the base.

    Args:
        base: to adapt; None: that which the adapter records, mini for a new one.
        start: from which, beside the base, training may start: an adapter, whose language model and hot
            words a new one gets, or the nearest.
        epochs: of training, other than as recipes train.
    """
    adapter = registered(name) if registry.is_registered(name) else None
    if start and start != NEAREST:
        start = str(registered(start))  # which training would look for in the working directory first
    with only_writer(name), interrupted_by_removal(name):
        corrections, work = read_store(name), store_of(name) / "work"
        new = new_to(adapter, corrections) if adapter else {utterance.id for utterance in corrections}
        if not new:
            raise UserError(f"{name}: there is nothing new to learn (corrections add {name} …)")
        try:
            known = trained_on_without(corrections, adapter) if adapter else []
            write_data_directory(work / "data", [*known, *corrections])
            base = base or (adapter and recorded_base(adapter)) or "mini"
            labels = adapter_labels(read_record(adapter)) if adapter else {"speaker": name}
            changes = {"init_adapter": start, "labels": labels} | ({"epochs": epochs} if epochs else {})
            options = few_options(base, work / "data", work / "exp", **changes)
            learnt = train_and_compare(adapter, options, new)
            if learnt.kept:
                missed = learnt.summary["missed"]
                learnt.earlier = register_learnt(name, work / "exp/adapter", corrections, missed, start)
            return learnt
        except TrainingError as error:
            raise TrainingError(str(error).replace(str(work / "data"), name)) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)


def few_options(base: str, data: Path, out: Path, **changes: Any) -> TrainingOptions:
    """As recipes train on a few minutes of speech. What can't be learnt of the old data was left out then."""
    import yaml

    few = yaml.safe_load((CONFIGURATIONS / "few.yaml").read_text("utf-8"))
    few |= {"init_adapter": NEAREST, "drop_chars": True, "on_error": "skip"}
    return TrainingOptions(base=base, train=data, out=out, **few | changes)


def trained_on_without(corrections: Sequence[Utterance], adapter: Path) -> list[Utterance]:
    """What an adapter was trained on, if that is still there, without the recordings that were corrected."""
    if (data := registry.training_data(adapter)) is None:
        print("the data that it was trained on are not there any more: it adapts to the corrections alone "
              "(of an adapter that version 0.1.0 registered: remove it and register it again)")  # fmt: skip
        return []
    digests, bad = {utterance.id[-DIGEST:] for utterance in corrections}, []
    known = read_data_directory(data, wav=False, spk_sort=False)
    waves = load_utterances(known, on_error="skip", bad=bad, progress=False)
    utterances = [utterance for utterance, wave in waves if audio_digest(wave) not in digests]
    print(*bad, sep="\n", end="\n" * bool(bad), file=sys.stderr)
    return utterances


def train_and_compare(adapter: Path | None, options: TrainingOptions, new: set[str]) -> Learnt:
    """Train; compare with the old adapter on the corrections that are new to it, and on other people's
    speech, with the base on all. Where there is no old adapter, the start or the base takes its place."""
    from ia3_speech.model.base import load_base
    from ia3_speech.training.data import read_examples
    from ia3_speech.training.few_minutes import measure_all, prepare, train_on_few
    from ia3_speech.training.segmentation import segment_data_directory

    base = load_base(options.base)
    segment_data_directory(options.train, options.train, base)  # recordings of minutes
    examples = read_examples(options.train, base, options, [1.0], lambda u: u.recording in new)
    earlier = adapter or start_folder(options.init_adapter)
    cache = prepare(base, options, earlier and str(earlier))
    before = sum(measure.errors for measure in measure_all(cache, examples, options))
    summary = train_on_few(options)
    files = (options.out / "folds").glob("*/task.json")
    texts = {id: text for file in files for id, text in read_json(file)["texts"].items()}
    pairs = [(example.utterance.text or "", texts[example.utterance.id]) for example in examples]
    words = [[normalize(text, options.normalize).split() for text in pair] for pair in pairs]
    after = sum(count_errors(*pair).total for pair in words)
    base_errors, errors = summary["base_errors"], summary["errors"]
    summary["missed"] = new_hotwords(earlier, missed_terms(words), base)
    comparison = (
        f"in {plural(len(new), 'new correction')} it made {before} errors, adapters that have not heard them "
        f"make {after}; in everything the base makes {base_errors}, and those adapters {errors}"
    )
    is_better = after < before and errors < base_errors
    if adapter and is_better:
        general = read_examples(GENERAL, base, options, [1.0])[::GENERAL_STEP]
        old, new = (
            measure_all(prepare(base, options, str(folder)), general, options)
            for folder in (adapter, options.out / "adapter")
        )
        general_before, general_after = (sum(one.errors for one in measures) for measures in (old, new))
        summary["general"] = [general_before, general_after, sum(one.words for one in old)]
        comparison += f"; in other people's speech it made {general_before}, and the new one {general_after}"
        is_better = general_after <= MOST_GENERAL_ERRORS * general_before
    return Learnt(is_better, comparison, summary)


def start_folder(start: str | None) -> Path | None:
    """That of the adapter to start from; None where the base or the nearest is the start."""
    return Path(start) if start and start != NEAREST else None


def missed_terms(utterances: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """Words of MISSED_LETTERS or more that are in several references, and right in no hypothesis, of the
    (reference, hypothesis) of each utterance, in words."""
    said = Counter(word for reference, _ in utterances for word in {*reference})
    right = {word for pair in utterances for word, found in align(*pair) if word == found}
    return [word for word in said if said[word] > 1 and word not in right and len(word) >= MISSED_LETTERS]


def new_hotwords(adapter: Path | None, missed: Sequence[str], base: "Base") -> list[str]:
    """Without those that are spelled as a hot word of the adapter: `followup` as `follow-up`."""
    from ia3_speech.lm.hotword_search import Hotword, read_hotwords, usable

    stored = adapter / STORED_HOTWORDS if adapter else Path()
    known = read_hotwords(stored) if stored.is_file() else []
    terms = usable([*known, *map(Hotword, missed)], base.vocabulary)
    return [term.text for term in terms if term not in known]


def register_learnt(
    name: str, adapter: Path, corrections: Sequence[Utterance], missed: Sequence[str], start: str | None
) -> str | None:
    """Register the new adapter, with what lies beside the earlier one (a language model, hot words, a gate),
    which becomes NAME@1, or the next number that is free; → that name, None where there is no earlier one:
    then with the language model and hot words of its start. What it misses becomes hot words."""
    earlier, record = registered(name) if registry.is_registered(name) else None, read_record(adapter)
    data, learnt = earlier and registry.training_data(earlier), {u.id: checksum(u) for u in corrections}
    record["training"] |= {"data": data and str(data), "corrections": learnt}
    own = {file.name for file in registry.adapter_files(adapter)} | {*FILES} - {GATE}
    beside = [file for file in registry.adapter_files(earlier) if file.name not in own] if earlier else []
    if not earlier and (folder := start_folder(start)):
        beside = [file for file in registry.adapter_files(folder) if file.name in SEARCH_FILES]
    if earlier and GATE not in own:
        record |= {name: value for name, value in read_record(earlier).items() if name == "gate"}
    write_record(adapter, record)
    names, beside = {*registry.registered_names(), name}, {file.name: file.read_bytes() for file in beside}
    if missed:
        lines = [*beside.get(STORED_HOTWORDS, b"").decode("utf-8").splitlines(), *missed]
        beside[STORED_HOTWORDS] = "".join(f"{line}\n" for line in lines).encode()
        beside.setdefault(LM_WEIGHTS, b"{}\n")
    registry.register(adapter, name, keep=True, search_files=beside)
    return min({*registry.registered_names()} - names, default=None)
