"""Corrections: what was really said in recordings, from which a registered adapter learns.

    ia3-speech corrections add anna audio.wav "what was said"     a recording
    ia3-speech corrections add anna table.csv                     columns file and text, perhaps speaker
    ia3-speech corrections add anna texts --recordings folder     .txt files as transcribe --output-dir writes
    ia3-speech corrections learn anna                             keeps the new adapter if it is better
    ia3-speech corrections list anna
    ia3-speech corrections remove anna [UTTERANCE …]              without UTTERANCE all of them

Stored are, in `corrections/NAME` beside the registry's folder (`$IA3_SPEECH_HOME`, else the platform's folder
for user data), a copy of each recording (FLAC, 16 kHz) and a Kaldi data directory with the texts. They are
somebody's voice: nobody else can open that folder, nothing is sent anywhere, and `remove` deletes it. An
adapter that has learnt from them stays, until `ia3-speech adapters remove NAME`.
"""

import hashlib
import io
import shutil
import sys
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ia3_speech import atomic
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import FILES, read_json, read_record, recorded_base, write_record
from ia3_speech.cli import CONFIGURATIONS, UserError, command
from ia3_speech.data.audio import SAMPLE_RATE, find_problem, load_audio
from ia3_speech.data.corpora.preparation import find_recording
from ia3_speech.data.kaldi import DataDirectory, read_data_directory, write_data_directory
from ia3_speech.data.kaldi.directory import UtteranceIds, collapse_whitespace
from ia3_speech.data.kaldi.table_file import unprintable_character
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.recordings import find_recordings, output_paths
from ia3_speech.data.spreadsheet import SUFFIXES, read_spreadsheet
from ia3_speech.data.text import normalize, writing_hint
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.formatting import in_columns, plural
from ia3_speech.scoring.alignment import count_errors
from ia3_speech.training.config import NEAREST, TrainingError, TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from ia3_speech.model.base import Base

DIGEST = 12  # hex digits of the SHA-256 of a recording's samples, with which its utterance's id ends


class Correction(NamedTuple):
    """What messages call it, a recording, what is said there, and by whom ("" where that is not known)."""

    where: str
    file: Path
    text: str
    speaker: str = ""


# ---- what is stored


def store_of(name: str) -> Path:
    """The folder of an adapter's corrections: data/, a Kaldi data directory, and audio/. It may not exist."""
    return registry.home().with_name("corrections") / registry.check_name(name)


def read_store(name: str) -> list[Utterance]:
    """The corrections of an adapter, also where the folder has been moved."""
    data, audio = store_of(name) / "data", store_of(name) / "audio"
    utterances = read_data_directory(data, wav=False) if data.is_dir() else []
    return [replace(utterance, source=str(audio / f"{utterance.id}.flac")) for utterance in utterances]


def write_store(name: str, utterances: Sequence[Utterance]) -> None:
    """Replace the corrections of an adapter, and delete the recordings that none of them names."""
    if not utterances:
        shutil.rmtree(store_of(name))
        return
    write_data_directory(store_of(name) / "data", utterances)
    for file in (store_of(name) / "audio").iterdir():
        if file.stem not in {utterance.id for utterance in utterances}:
            shutil.rmtree(file) if file.is_dir() else file.unlink()  # a folder: of a writer that was killed


@contextmanager
def only_writer(name: str) -> Iterator[None]:
    """Hold the lock of an adapter's corrections. Raises UserError where another command holds it."""
    from filelock import FileLock, Timeout

    folder = store_of(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    try:
        with FileLock(folder / f".{name}.lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"{name}: another command is at its corrections (wait until it has ended)") from None


def registered(name: str) -> Path:
    """The folder of a registered adapter. Raises UnknownAdapter, with the nearest names."""
    if not registry.is_registered(registry.check_name(name)):
        raise registry.UnknownAdapter(registry.not_found(name, Path(name)))
    return registry.home() / registry.check_name(name)


def new_to(adapter: Path, corrections: Sequence[Utterance]) -> set[str]:
    """The corrections that an adapter has not learnt from, with the texts that they have now."""
    learnt = read_record(adapter).get("training", {}).get("corrections", {})
    return {utterance.id for utterance in corrections if learnt.get(utterance.id) != checksum(utterance)}


def checksum(utterance: Utterance) -> int:
    """CRC-32 of a text: the record of an adapter, which may be published, must not hold what was said."""
    return zlib.crc32((utterance.text or "").encode())


# ---- add, list, remove


def add(name: str, correction: list[str], recordings: Path | None = None) -> int:
    """Store what was really said in recordings, for `corrections learn`.

    What can't be used is named on stderr, the others are stored, and the exit code is 1. A recording that is
    stored already, under whatever name, gets the new text. `corrections --help` says what is stored where.

    Args:
        name: a registered adapter.
        correction: a recording and what is said in it; or a table (.csv, .tsv, .xlsx) with the columns file
            and text; or, with --recordings, a folder of .txt files (delete those that you have not checked).
        recordings: the folder of the recordings that the .txt files belong to.
    """
    from ia3_speech.model.base import load_base

    adapter, (source, *text) = registered(name), correction
    corrections, problems = read_corrections(Path(source), " ".join(text), recordings)
    with only_writer(name):
        base, own = load_base(recorded_base(adapter) or "mini", device="cpu"), speaker_of(adapter)
        stored = {utterance.id[-DIGEST:]: utterance for utterance in read_store(name)}
        known, taken = len(stored), {}
        for each in corrections:
            try:
                if not each.file.is_file():
                    raise UserError(f"{each.file}: no such file")
                wave = load_audio(each.file)
                refuse_unusable(each, wave, base)
                if (digest := audio_digest(wave)) in taken:
                    raise UserError(f"the same recording as {taken[digest]} (remove one of them)")
            except UserError as error:
                problems.append(f"{each.where}: {str(error).removeprefix(f'{each.where}: ')}")
                continue
            taken[digest] = each.where
            old = stored.get(digest) or store_audio(name, each.file, each.speaker or own, digest, wave)
            stored[digest] = replace(old, text=collapse_whitespace(each.text))
        if taken:
            write_store(name, [*stored.values()])
    print(*problems, sep="\n", end="\n" * bool(problems), file=sys.stderr)
    again = known + len(taken) - len(stored)
    print(f"{name}: {plural(len(taken), 'correction')} taken, of which {again} replace an earlier text; "
          f"{len(stored)} in all (ia3-speech corrections learn {name})")  # fmt: skip
    return int(bool(problems))


def store_recording(name: str, wave: "np.ndarray", text: str, base: "Base") -> str:
    """Store a recording of a voice, (samples,) at 16 kHz, and what is said there; → its utterance.

    The name need not be an adapter's yet: it is that of the voice then.

    Raises:
        UserError: it can't be learnt, or another command is at this store.
    """
    recording, digest = Correction(name, Path("recording"), text), audio_digest(wave)
    refuse_unusable(recording, wave, base)
    with only_writer(name):
        stored = {utterance.id[-DIGEST:]: utterance for utterance in read_store(name)}
        own = speaker_of(registered(name)) if registry.is_registered(name) else name
        old = stored.get(digest) or store_audio(name, recording.file, own, digest, wave)
        stored[digest] = replace(old, text=collapse_whitespace(text))
        write_store(name, [*stored.values()])
    return old.id


def read_corrections(source: Path, text: str, recordings: Path | None) -> tuple[list[Correction], list[str]]:
    """The corrections of one recording, of a table, or of a folder of texts; and what is wrong there.

    Raises:
        UserError: nothing of it can be used.
    """
    if text:
        return [Correction(str(source), source, text)], []
    if source.suffix.lower() in SUFFIXES:
        rows, problems = read_spreadsheet(source)
        files = [source.parent / row["file"].replace("\\", "/") for _, row in rows]
        return [
            Correction(f"{source}:{line}", find_recording(file) or file, row["text"], row.get("speaker", ""))
            for (line, row), file in zip(rows, files, strict=True)
        ], problems
    if not source.is_dir() or recordings is None:
        raise UserError(
            f'{source}: what is said there? (corrections add NAME audio.wav "what was said"; or a .csv; or a '
            f"folder of .txt files, with --recordings FOLDER)"
        )
    audio, problems = find_recordings([str(recordings)])
    by_text = dict(zip(output_paths(audio, source, ".txt"), audio, strict=True))
    texts = {file: file.read_text("utf-8", errors="replace") for file in sorted(source.rglob("*.txt"))}
    problems += [
        f"{file}: no recording in {recordings} has its name" for file in texts.keys() - by_text.keys()
    ]
    pairs = [(file, text) for file, text in texts.items() if file in by_text]
    return [Correction(str(file), Path(by_text[file].audio), text) for file, text in pairs], problems


def refuse_unusable(correction: Correction, wave: "np.ndarray", base: "Base") -> None:
    """Raises UserError where the base can't learn the text of `wave`, (samples,) at 16 kHz."""
    from ia3_speech.training.data import text_fault, unwritable_characters

    options, text = few_options(base.name, Path(), Path()), collapse_whitespace(correction.text)
    utterance = Utterance(correction.file.name, "", "", "", text=text)
    if needs_words(base.vocabulary.letters):
        [utterance] = numbers_in_words([utterance], correction.where)
    missing, described = unwritable_characters(DataDirectory(Path(), [utterance]), base, options)
    if (problem := find_problem(wave, base.minimum_samples)) and problem.fatal:
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


def speaker_of(adapter: Path) -> str:
    """Whose an adapter is: by its labels, or the only speaker of its data; else its name stands for them."""
    data = registry.training_data(adapter)
    speakers = read_data_directory(data, text=False, wav=False).speakers if data else {}
    only = min(speakers) if len(speakers) == 1 else adapter.name
    return read_record(adapter).get("labels", {}).get("speaker") or only


def store_audio(name: str, file: Path, speaker: str, digest: str, wave: "np.ndarray") -> Utterance:
    """Copy a recording into the store; → its utterance."""
    import soundfile

    speaker, id = UtteranceIds(1).assign(speaker, f"{file.stem}-{digest}.flac", 1)
    copy, content = store_of(name) / "audio" / f"{id}.flac", io.BytesIO()
    soundfile.write(content, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    with atomic.replacing(copy) as new:
        new.write_bytes(content.getvalue())  # soundfile would not say that the disk is full
    return Utterance(id, speaker, id, str(copy), duration=len(wave) / SAMPLE_RATE)


def list_corrections(name: str) -> None:
    """List the corrections of an adapter: utterance, seconds, whether it has learnt from it, text.

    Args:
        name: the adapter.
    """
    if not (corrections := read_store(name)):
        raise UserError(
            f'{name}: there are no corrections (corrections add {name} audio.wav "what was said")'
        )
    new = new_to(registered(name), corrections)
    rows = [(u.id, f"{u.duration:.1f}", "no" if u.id in new else "yes", u.text) for u in corrections]
    print(*in_columns([("UTTERANCE", "SECONDS", "LEARNT", "TEXT"), *rows], left=(0, 2, 3)), sep="\n")


def remove(*names: str) -> None:
    """Delete corrections and the copies of their recordings. The adapter stays as it is.

    Args:
        names: the adapter, and the utterances to delete, as `list` shows them; without them, all.
    """
    if not names:
        raise UserError("whose? (corrections remove NAME [UTTERANCE …])")
    if not store_of(names[0]).exists():
        raise UserError(f"{names[0]}: there are no corrections")
    deleted, left = delete_recordings(names[0], {*names[1:]})
    print(f"{names[0]}: {plural(deleted, 'correction')} deleted, {left} left")


def delete_recordings(name: str, ids: Collection[str] = ()) -> tuple[int, int]:
    """Delete utterances, or all, and the copies of their recordings; → how many, and how many are left.

    Raises:
        UserError: one of them is not there, or another command is at this store.
    """
    with only_writer(name):
        corrections = read_store(name)
        if unknown := {*ids} - {utterance.id for utterance in corrections}:
            raise UserError(f"{name}: there is no correction {min(unknown)} (corrections list {name})")
        left = [utterance for utterance in corrections if ids and utterance.id not in ids]
        if store_of(name).exists():
            write_store(name, left)
        if not left:  # nor does the name stay
            store_of(name).with_name(f".{name}.lock").unlink()
    return len(corrections) - len(left), len(left)


# ---- learn


def learn_corrections(name: str) -> None:
    """Adapt again, from the data that the adapter was trained on, if they are still there, and corrections.

    The new adapter is kept only if folds say so: adapters that have not heard the utterance have to make
    fewer errors than the old one on the corrections that are new to it, and fewer than the base on
    everything. The old one stays as NAME@1, then NAME@2 …. A few minutes of speech take minutes.

    Args:
        name: a registered adapter that has corrections.
    """
    from ia3_speech.train import folds_report

    registered(name)
    learnt = learn_voice(name)
    print(*folds_report(f"new {name}", learnt.summary), sep="\n")
    if learnt.kept:
        print(f"{name} is the new adapter now, and {learnt.earlier} the earlier one: {learnt.comparison}")
    else:
        print(f"{name} stays as it is, and so do its corrections: {learnt.comparison}")


class Learnt(NamedTuple):
    """What learning came to.

    Attributes:
        kept: whether the new adapter is registered.
        earlier: the name under which the earlier one is, None where there was none or it stays.
        comparison: the errors of both, in words.
        summary: as `few_run.train_on_few`.
    """

    kept: bool
    earlier: str | None
    comparison: str
    summary: dict[str, Any]


def learn_voice(
    name: str, base: str = "mini", start: str | None = NEAREST, epochs: int | None = None
) -> Learnt:
    """Adapt again to everything that is known of a name, as `learn_corrections` says; or, where no adapter
    has the name, make one of its recordings, and keep it if it makes fewer errors than the base.

    Args:
        base: of a new adapter.
        start: from which, beside the base, training may start: an adapter, or the nearest.
        epochs: of training, other than as recipes train.
    """
    adapter = registered(name) if registry.is_registered(name) else None
    with only_writer(name):
        corrections, work = read_store(name), store_of(name) / "work"
        new = new_to(adapter, corrections) if adapter else {utterance.id for utterance in corrections}
        if not new:
            raise UserError(f"{name}: there is nothing new to learn (corrections add {name} …)")
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed
        try:
            known = trained_on_without(corrections, adapter) if adapter else []
            write_data_directory(work / "data", [*known, *corrections])
            own_base = recorded_base(adapter) if adapter else None
            options = few_options(own_base or base, work / "data", work / "exp")
            options.init_adapter, options.epochs = start, epochs or options.epochs
            options.labels = read_record(adapter).get("labels", {}) if adapter else {"speaker": name}
            is_better, comparison, summary = train_and_compare(name if adapter else None, options, new)
            earlier = None
            if is_better:
                earlier = register_learnt(name, work / "exp/adapter", corrections)
            return Learnt(is_better, earlier, comparison, summary)
        except TrainingError as error:
            raise TrainingError(str(error).replace(str(work / "data"), name)) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)


def few_options(base: str, data: Path, out: Path) -> TrainingOptions:
    """As recipes train on a few minutes of speech. What can't be learnt of the old data was left out then."""
    import yaml

    few = yaml.safe_load((CONFIGURATIONS / "few.yaml").read_text("utf-8"))
    few |= {"init_adapter": NEAREST, "drop_chars": True, "on_error": "skip"}
    return TrainingOptions(base=base, train=data, out=out, **few)


def trained_on_without(corrections: Sequence[Utterance], adapter: Path) -> list[Utterance]:
    """What an adapter was trained on, if that is still there, without the recordings that were corrected."""
    if (data := registry.training_data(adapter)) is None:
        print("the data that it was trained on are not there any more: it adapts to the corrections alone")
        return []
    digests, bad = {utterance.id[-DIGEST:] for utterance in corrections}, []
    waves = load_utterances(read_data_directory(data, wav=False), on_error="skip", bad=bad, progress=False)
    utterances = [utterance for utterance, wave in waves if audio_digest(wave) not in digests]
    print(*bad, sep="\n", end="\n" * bool(bad), file=sys.stderr)
    return utterances


def train_and_compare(
    name: str | None, options: TrainingOptions, new: set[str]
) -> tuple[bool, str, dict[str, Any]]:
    """Train; compare with the old adapter on the corrections that are new to it, with the base on all.

    Args:
        name: of the old adapter; None where there is none: then the base takes its place.

    Returns:
        whether the new one is better, the comparison in words, and what `train_on_few` says.
    """
    from ia3_speech.decoding.segment_directory import segment_data_directory
    from ia3_speech.model.base import load_base
    from ia3_speech.training.data import read_examples
    from ia3_speech.training.few_run import measure_all, prepare, train_on_few

    base = load_base(options.base)
    segment_data_directory(options.train, options.train, base)  # recordings of minutes
    examples = read_examples(options.train, base, options, [1.0], lambda u: u.recording in new)
    cache = prepare(base, options, str(registered(name)) if name else None)
    before = sum(measure.errors for measure in measure_all(cache, examples, options))
    summary = train_on_few(options)
    files = (options.out / "folds").glob("*/task.json")
    texts = {id: text for file in files for id, text in read_json(file)["texts"].items()}
    pairs = [(example.utterance.text or "", texts[example.utterance.id]) for example in examples]
    words = [[normalize(text, options.normalize).split() for text in pair] for pair in pairs]
    after = sum(count_errors(*pair).total for pair in words)
    base_errors, errors = summary["base_errors"], summary["errors"]
    comparison = (
        f"in {plural(len(new), 'new correction')} it made {before} errors, adapters that have not heard them "
        f"make {after}; in everything the base makes {base_errors}, and those adapters {errors}"
    )
    return after < before and errors < base_errors, comparison, summary


def register_learnt(name: str, adapter: Path, corrections: Sequence[Utterance]) -> str | None:
    """Register the new adapter, with what is registered beside the earlier one (a language model, hot words),
    which becomes NAME@1, or the next number that is free; → that name, None where there is no earlier one."""
    earlier, record = registered(name) if registry.is_registered(name) else None, read_record(adapter)
    data, learnt = earlier and registry.training_data(earlier), {u.id: checksum(u) for u in corrections}
    record["training"] |= {"data": data and str(data), "corrections": learnt}
    write_record(adapter, record)
    beside = [file for file in registry.adapter_files(earlier) if file.name not in FILES] if earlier else []
    names, beside = {*registry.registered_names(), name}, {file.name: file.read_bytes() for file in beside}
    registry.register(adapter, name, keep=True, search_files=beside)
    return min({*registry.registered_names()} - names, default=None)


def main(argv: list[str] | None = None) -> None:
    command({"add": add, "learn": learn_corrections, "list": list_corrections, "remove": remove}, argv)


if __name__ == "__main__":
    main()
