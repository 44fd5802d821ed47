"""Corrections: recordings with checked texts, from which a registered adapter learns.

    ia3-speech corrections add anna audio.wav "what was said"     a recording
    ia3-speech corrections add anna table.csv                     columns file, text and perhaps speaker
    ia3-speech corrections add anna texts --recordings folder     .txt files as transcribe --output-dir writes
    ia3-speech corrections add anna --heard "drugalogies" --meant "drug allergies"     without a recording
    ia3-speech corrections suggest anna --n 5                     sentences to read next
    ia3-speech corrections learn anna                             registers the new adapter if it is better
    ia3-speech corrections list anna
    ia3-speech corrections remove anna [UTTERANCE …]              without UTTERANCE all corrections

A copy of each recording (FLAC, 16 kHz) and a Kaldi data directory with the texts are stored in
`$IA3_SPEECH_HOME/corrections/NAME` (without that variable, in the platform's folder for user data).
Recordings of a voice are personal: no other user can open that folder, nothing is sent anywhere, and `remove`
deletes it. An adapter that was trained on them stays; `ia3-speech voices remove NAME` deletes that too.
"""

import os
import sys
from pathlib import Path

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_summary, recorded_base
from ia3_speech.cli import message_of
from ia3_speech.corrections import voice
from ia3_speech.corrections.store import only_writer, store_of
from ia3_speech.corrections.voice import Correction
from ia3_speech.data.audio import load_audio
from ia3_speech.data.corpora.csv_folder import SUFFIXES, read_spreadsheet
from ia3_speech.data.corpora.preparation import find_recording
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.recordings import find_recordings, output_paths
from ia3_speech.errors import UserError
from ia3_speech.formatting import in_columns, percent, plural


def add(
    name: str,
    *corrections: str,
    recordings: Path | None = None,
    heard: str | None = None,
    meant: str | None = None,
) -> int:
    """Store recordings with their correct texts, for `corrections learn`; or texts alone.

    Unusable recordings are listed on stderr, the others are stored, and the exit code is 1. A recording that
    is stored already, under any file name, gets the new text. `corrections --help` names the folders.

    Without a recording, no adapter is trained: where --heard and --meant differ, the adapter gets hot words,
    unless they make more errors in its stored recordings; and the texts are stored for a language model.

    Args:
        name: a registered adapter.
        corrections: a recording and its text; or a table (.csv, .tsv, .xlsx) with the columns file and text;
            or, with --recordings, a folder of .txt files (delete unchecked ones).
        recordings: the folder of the recordings that the .txt files belong to.
        heard: a recognised text, or a file of such texts, a line each.
        meant: the text that is right, or a file with the same number of lines.
    """
    from ia3_speech.model.base import load_base

    if (heard is None) != (meant is None) or (heard is None) != bool(corrections):
        hint = "give a recording and its text; or --heard and --meant"
        raise UserError(f"corrections add {name}: what is the correction? ({hint})")
    if heard is not None:
        return add_texts(name, heard, meant)
    adapter, (source, *text) = voice.registered(name), corrections
    entries, problems = read_corrections(Path(source), " ".join(text), recordings)
    with only_writer(name):
        base = load_base(recorded_base(adapter) or "mini", device="cpu")
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
            except OSError as error:  # such as a name that is too long
                problems.append(f"{where}: {file}: {error.strerror}")
            except UserError as error:
                problems.append(f"{where}: {message_of(error).removeprefix(f'{where}: ')}")
        stored = len(voice.read_store(name))
    print(*problems, sep="\n", end="\n" * bool(problems), file=sys.stderr)
    again = known + len(taken) - stored
    replaced = f", {again} of them in place of an earlier text" if again else ""
    hint = f" Next: ia3-speech corrections learn {name}" if taken else ""
    print(f"{name}: {plural(len(taken), 'correction')} stored{replaced}; {stored} in all.{hint}")
    return int(bool(problems))


def add_texts(name: str, heard: str, meant: str) -> int:
    """Make hot words from the differences of texts or files; see `add`."""
    from ia3_speech.corrections.terms import TEXTS, add_terms

    def lines(side: str) -> list[str]:
        is_file = len(os.fsencode(side)) < 256 and Path(side).is_file()
        return read_utf8(Path(side), "").splitlines() if is_file else [side]

    added, refused = add_terms(name, lines(heard), lines(meant))
    for term in added:
        print(f"hot word {term.text}, recognised as: {', '.join(term.heard_as)}")
    for text, reason in refused.items():
        print(f"left out: {text}: {reason}", file=sys.stderr)
    print(
        f"{name}: {plural(len(added), 'hot word')} added; texts for ia3-speech lm: {store_of(name) / TEXTS}"
    )
    return int(bool(refused))


def suggest(name: str, texts: str = "shipped", n: int = 5) -> None:
    """Print the sentences from which the recogniser of a voice would learn most.

    Args:
        name: a registered adapter, with or without corrections.
        texts: a file with a sentence on each line; shipped: the page's sentences.
        n: number of sentences.
    """
    from ia3_speech.corrections.suggest import further_gain, shipped_sentences, suggest_sentences
    from ia3_speech.session import load

    adapter = voice.registered(name)
    if n < 1:
        raise UserError(f"`n` is {n}, and must be at least 1")
    sentences = shipped_sentences()
    if texts != "shipped":
        sentences = read_utf8(Path(texts), "a sentence on each line; or shipped").splitlines()
    recognizer = load(adapter=adapter, guard=False, device="cpu", search="greedy").recognizer
    if not (chosen := suggest_sentences(name, sentences, recognizer, n)):
        raise UserError(f"{texts}: holds no sentence that {name} has not read and that the base can write")
    print(*chosen, sep="\n")
    if gain := further_gain(read_summary(adapter).get("training", {}), n):
        print(f"{n} more would remove about {percent(gain, 0)} % of the errors", file=sys.stderr)


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
    """Delete corrections and the copies of their recordings. The adapter stays as it is.

    Args:
        names: the adapter, and the utterances to delete, as `list` shows them; none: all utterances.
    """
    if not names:
        raise UserError("name an adapter (corrections remove NAME [UTTERANCE …])")
    if not store_of(names[0]).exists():
        raise UserError(f"{names[0]}: there are no corrections")
    deleted, left = voice.delete_recordings(names[0], {*names[1:]})
    hint = "" if left else f" (ia3-speech voices remove {names[0]} deletes its adapters too)"
    print(f"{names[0]}: {plural(deleted, 'correction')} deleted, {left} left{hint}")


def learn(name: str) -> None:
    """Train an adapter again, on its training data (if they still exist) and its corrections.

    The new adapter is registered only if it is better in cross-validation, where each utterance is decoded by
    an adapter that was not trained on it. These adapters have to make fewer errors than the old adapter on
    the corrections that are new to it, and fewer than the base on everything. On speech of other people, the
    new adapter may make at most a tenth more errors than the old adapter, which becomes NAME@1, then NAME@2
    …. Words of five letters or more that occur several times, and are never recognised, become hot words of
    the new adapter. For a few minutes of speech this takes minutes.

    Args:
        name: a registered adapter that has corrections.
    """
    from ia3_speech.training.few_minutes import cross_validation_report

    voice.registered(name)
    learnt = voice.learn_voice(name)
    print(*cross_validation_report(f"new {name}", learnt.summary), sep="\n")
    if learnt.kept:
        print(f"{name} is replaced by the new adapter; the old one is {learnt.earlier}; {learnt.comparison}")
        if missed := learnt.summary["missed"]:
            print(f"new hot words, since they were never recognised: {', '.join(missed)}")
    else:
        print(f"{name} stays as it is, since the new adapter failed the comparison; {learnt.comparison}")


SUB_COMMANDS = {"add": add, "suggest": suggest, "learn": learn, "list": list_, "remove": remove}
