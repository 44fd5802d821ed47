"""Corrections: recordings with checked texts, from which a registered adapter learns.

    ia3-speech corrections add anna audio.wav "what was said"     a recording
    ia3-speech corrections add anna table.csv                     columns file, text and perhaps speaker
    ia3-speech corrections add anna texts --recordings folder     .txt files as transcribe --output-dir writes
    ia3-speech corrections learn anna                             registers the new adapter if it is better
    ia3-speech corrections learn anna --base NEW                  moves the voice to a new base
    ia3-speech corrections list anna
    ia3-speech corrections remove anna [UTTERANCE …]              without UTTERANCE all corrections

A copy of each recording (FLAC, 16 kHz) and a Kaldi data directory with the texts are stored in
`$IA3_SPEECH_HOME/corrections/NAME` (without that variable, in the platform's folder for user data).
Recordings of a voice are personal: no other user can open that folder, nothing is sent anywhere, and `remove`
deletes it. An adapter that was trained on them stays; `ia3-speech voices remove NAME` deletes that too.
"""

import sys
from pathlib import Path

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, read_summary
from ia3_speech.common.cli import message_of
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import in_columns, plural
from ia3_speech.data.audio import load_audio
from ia3_speech.data.corpora.csv_folder import SUFFIXES, read_spreadsheet
from ia3_speech.data.corpora.preparation import find_recording
from ia3_speech.data.recordings import find_recordings, output_paths
from ia3_speech.voices import voice
from ia3_speech.voices.store import only_writer, store_of, versions_of
from ia3_speech.voices.voice import Correction


def add(name: str, *corrections: str, recordings: Path | None = None) -> int:
    """Store recordings with their correct texts, for `corrections learn`.

    Unusable recordings are listed on stderr, the others are stored, and the exit code is 1. A recording that
    is stored already, under any file name, gets the new text. `corrections --help` names the folders.

    Args:
        name: a registered adapter.
        corrections: a recording and its text; or a table (.csv, .tsv, .xlsx) with the columns file and text;
            or, with --recordings, a folder of .txt files (delete unchecked ones).
        recordings: the folder of the recordings that the .txt files belong to.
    """
    from ia3_speech.model.base import load_base

    if not corrections:
        raise UserError(f"corrections add {name}: what is the correction? (give a recording and its text)")
    adapter, (source, *text) = voice.registered(name), corrections
    entries, problems = read_corrections(Path(source), " ".join(text), recordings)
    with only_writer(name):
        base = load_base(read_record(adapter).get("base") or "mini", device="cpu")
        known, taken = len(voice.read_store(name)), {}
        for entry in entries:
            file, where = entry.file, entry.where
            try:
                if not file.is_file():
                    raise UserError(f"{file}: no such file")
                wave = load_audio(file)
                if (digest := voice.audio_digest(wave)) in taken:
                    raise UserError(f"the same recording as {taken[digest]} (remove one of them)")
                voice.store_recording(name, entry, wave, base)
                taken[digest] = where
            except OSError as error:  # such as a name that is too long, or a full disk
                problems.append(f"{where}: {error.filename or file}: {error.strerror}")
            except UserError as error:
                problems.append(f"{where}: {message_of(error).removeprefix(f'{where}: ')}")
        stored = len(voice.read_store(name))
    for problem in problems:
        print(problem, file=sys.stderr)
    again = known + len(taken) - stored
    replaced = f", {again} of them in place of an earlier text" if again else ""
    hint = f" Next: ia3-speech corrections learn {name}" if taken else ""
    print(f"{name}: {plural(len(taken), 'correction')} stored{replaced}; {stored} in all.{hint}")
    return int(bool(problems))


def read_corrections(source: Path, text: str, recordings: Path | None) -> tuple[list[Correction], list[str]]:
    """The corrections of a recording, a table or a folder of texts; and a message for each fault."""
    if text:
        return [Correction(str(source), source, text)], []
    if source.suffix.lower() in SUFFIXES:
        rows, problems = read_spreadsheet(source)
        corrections = []
        for where, row in rows:
            file = source.parent / row["file"].replace("\\", "/")
            file = find_recording(file) or file
            corrections.append(Correction(where, file, row["text"], row.get("speaker", "")))
        return corrections, problems
    if not source.is_dir() or recordings is None:
        raise UserError(
            f'{source}: no text, or no --recordings (corrections add NAME audio.wav "what was said"; or a '
            f".csv; or a folder of .txt files, with --recordings FOLDER)"
        )
    audio, problems = find_recordings([str(recordings)])
    by_text = dict(zip(output_paths(audio, source, ".txt"), audio, strict=True))
    corrections = []
    for file in sorted(source.rglob("*.txt")):
        if file in by_text:
            text = file.read_text("utf-8", errors="replace")
            corrections.append(Correction(str(file), Path(by_text[file].audio), text))
        else:
            problems.append(f"{file}: no recording in {recordings} has its name")
    return corrections, problems


def list_(name: str) -> None:
    """List the corrections of an adapter: utterance, seconds, whether the adapter was trained on it, text.

    Args:
        name: the adapter.
    """
    if not (corrections := voice.read_store(name)):
        voice.registered(name)  # raises where there is no such adapter
        print(f'{name}: no corrections yet (ia3-speech corrections add {name} audio.wav "what was said")')
        return
    new = {utterance.id for utterance in corrections}
    if registry.is_registered(name):  # it may be removed, and its corrections stay
        new = voice.new_to(voice.registered(name), corrections)
    rows = [(u.id, f"{u.duration:.1f}", "no" if u.id in new else "yes", u.text) for u in corrections]
    print(*in_columns([("UTTERANCE", "SECONDS", "LEARNT", "TEXT"), *rows], left=(0, 2, 3)), sep="\n")


def remove(*names: str) -> None:
    """Delete corrections and the copies of their recordings. The adapters that were trained on them stay, and
    are named.

    Args:
        names: the adapter, and the utterances to delete, as `list` shows them; none: all utterances.
    """
    if not names:
        raise UserError("name an adapter (corrections remove NAME [UTTERANCE …])")
    if not store_of(names[0]).exists():
        raise UserError(f"{names[0]}: there are no corrections")
    ids = {*names[1:]} or {utterance.id for utterance in voice.read_store(names[0])}
    deleted, left = voice.delete_recordings(names[0], ids)
    print(f"{names[0]}: {plural(deleted, 'correction')} deleted, {left} left")
    for version in versions_of(names[0]):
        training = read_summary(registry.adapters_dir() / version).get("training", {})
        if ids & training.get("corrections", {}).keys():
            hint = f"ia3-speech adapters remove {version} deletes it"
            print(f"{version}: was trained on them, and stays ({hint})")
    if registry.is_registered(names[0]):
        print(f"ia3-speech corrections learn {names[0]} trains a new adapter without them")


def learn(name: str, base: str | None = None, init_adapter: str | None = None) -> None:
    """Train an adapter again, on its training data (if they still exist) and its corrections.

    The new adapter is registered only if cross-validation, where each sentence is decoded by an adapter that
    was not trained on it, makes fewer errors than the base, and not clearly more (95 % interval) than the old
    adapter on sentences that this was not trained on. On speech of other people, the new adapter may make at
    most a tenth more errors than the old adapter, which becomes NAME@1, then NAME@2 …. Words of five letters
    or more that occur several times, and are never recognised, become hot words of the new adapter. For a few
    minutes of speech this takes minutes. After `corrections remove`, the adapter is trained without the
    removed recordings.

    Args:
        name: a registered adapter that has corrections.
        base: train on this new base: mini, a folder or a hub id; the new adapter must also have a lower WER
            than the old adapter has on the old base (default: the base that the adapter records).
        init_adapter: a registered adapter, from which a fold starts where that is better than from the base.
    """
    from ia3_speech.training.few_minutes import cross_validation_report

    removed = voice.removed_from(voice.registered(name), voice.read_store(name))
    learnt = voice.learn_voice(name, base, init_adapter)
    print(*cross_validation_report(f"new {name}", learnt.summary), sep="\n")
    print(learnt.comparison[0].upper() + learnt.comparison[1:])
    if learnt.kept:
        print(f"{name} is replaced by the new adapter: {learnt.reason}; the old one is {learnt.earlier}")
        if missed := learnt.summary["missed"]:
            print(f"new hot words, since they were never recognised: {', '.join(missed)}")
    else:
        print(f"{name} stays as it is: the new adapter is not used, since {learnt.reason}")
        print(f"what helps most is more sentences (ia3-speech corrections add {name} …), then learn again")
    if removed:
        old = learnt.earlier or name
        print(f"{old} was trained on removed recordings; ia3-speech adapters remove {old} deletes it")


SUB_COMMANDS = {"add": add, "learn": learn, "list": list_, "remove": remove}
