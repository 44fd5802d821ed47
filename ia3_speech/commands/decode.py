"""Decode a data directory into hypotheses.

    ia3-speech decode [--base mini] [--adapter NAME|PATH|SUM] data/test DECODE_DIR
    ia3-speech decode --adapter-per-speaker exp/speakers data/test DECODE_DIR
    ia3-speech decode --part 3/8 data/test DECODE_DIR  # for each part; then once without --part

In: a Kaldi data directory (its `text` is not used), a base, perhaps an adapter, or one for each speaker. Out:
DECODE_DIR/{text, hyp.trn, hyp.ctm, bad_audio, decode.json}. hyp.ctm holds the times and confidences of the
words, from a forced alignment of each hypothesis.

Bad audio doesn't stop decoding: the utterance's hypothesis is empty, stderr lists it, and the exit code is 1,
also if the same command is repeated. Clipped audio is listed too, but decoded, with exit code 0.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ia3_speech.adapters.record import GATE, GUARD, SEARCH_FILES, read_json
from ia3_speech.adapters.spec import AdapterSpec, tensor_files_of
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import plural
from ia3_speech.common.inputs import Inputs
from ia3_speech.data.recordings import Part
from ia3_speech.data.utterance import list_bad_audio
from ia3_speech.decoding import decode_directory
from ia3_speech.decoding.calibrations import stored_calibrations, uncalibrated
from ia3_speech.decoding.decode_directory import PARTS_FOLDER, speaker_adapters
from ia3_speech.decoding.options import ConfidenceOptions, GuardOptions, ModelOptions, TestTimeOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.model.hypotheses import decoded_again, unused_hotwords
from ia3_speech.model.location import base_files, base_folder
from ia3_speech.session import is_guarded, load


def main(
    data: Path,
    decode_dir: Path,
    adapter_per_speaker: Path | None = None,
    allow_pipes: bool = False,
    max_seconds: float | None = None,
    part: str | None = None,
    force: bool = False,
    model_options: ModelOptions = ModelOptions(),  # noqa: B008  (immutable)
    guard_options: GuardOptions = GuardOptions(),  # noqa: B008  (immutable)
    search_options: SearchOptions = SearchOptions(),  # noqa: B008  (immutable)
    confidence_options: ConfidenceOptions = ConfidenceOptions(),  # noqa: B008  (immutable)
    test_time_options: TestTimeOptions = TestTimeOptions(),  # noqa: B008  (immutable)
) -> int:
    """Decode a Kaldi data directory into DECODE_DIR: text, hyp.trn, hyp.ctm, bad_audio and decode.json.

    Args:
        data: data directory with wav.scp, utt2spk and perhaps segments
        decode_dir: folder to write; created if it is missing
        adapter_per_speaker: folder written by `ia3-speech speakers`, or by `train` without dev; each
            utterance is decoded with the adapter of the fold that held it out, or, if there is none, with its
            speaker's first adapter
        allow_pipes: run the shell commands that wav.scp holds (entries that end in |)
        max_seconds: cut longer utterances at pauses (default: the base's maximum input duration, 15.36 s for
            mini, else 60; inf: never)
        part: such as 3/8: decode every eighth utterance from the third on; when all parts are decoded, the
            same command without --part puts them together in DECODE_DIR
        force: decode again even if DECODE_DIR/inputs.json shows the same inputs
    """
    if model_options.adapter and adapter_per_speaker:
        raise UserError("give either --adapter or --adapter-per-speaker, not both")
    share = Part.parse(part)
    spec = guard_options.spec(model_options.adapter)
    if not spec.choice:
        spec = replace(spec, guard=is_guarded(spec, test_time_options.test_time))
    directory = decode_directory.read_for_decoding(data, allow_pipes)
    utterances = directory.utterances
    adapters = speaker_adapters(adapter_per_speaker, utterances) if adapter_per_speaker else {}
    terms = dict.fromkeys(term for each in adapters.values() for term in each.terms)
    every = AdapterSpec(tuple(terms)) if adapters else spec
    has_hotwords = search_options.hotwords is not None  # apart from those registered with the adapter
    if len(spec.terms) == 1 and not (spec.choice or spec.guard):  # each candidate has its search
        search_options = search_options.complete(spec.terms[0].folder)
    options = (model_options, search_options, confidence_options, test_time_options)
    inputs = inputs_of(data, every, max_seconds, *options)
    if (bad := utterances_without_output(decode_dir, inputs, force)) is not None:
        return int(bad > 0 and not part)
    out = decode_dir
    if part:
        out, utterances = decode_dir / PARTS_FOLDER / share.stem, share.of(utterances)
        inputs = decode_directory.part_inputs(inputs, share, directory)
        if inputs.is_current(out, force):
            return 0
    elif parts := decode_directory.finished_parts(decode_dir, inputs, directory):
        return put_together(parts, decode_dir, inputs, [utterance.id for utterance in utterances])
    scaling = confidence_options.scaling
    loading = model_options.for_loading(max_seconds=max_seconds, vad="off", scaling=scaling)
    loading |= {"adapter": spec} | ({"base": every.base(model_options.base)} if adapters else {})
    transcriber = load(**loading, search=search_options, test_time=test_time_options.test_time)
    recognizer = transcriber.recognizer
    if adapters:  # each may have another scaling
        recognizer = replace(recognizer, scaling=scaling)
        for each in dict.fromkeys(adapters.values()):  # load them, so that errors come before the work
            transcriber.session.recognizer(each)
    result = decode_directory.decode_utterances(
        recognizer, utterances, adapters=adapters or None, with_words=True
    )
    record = decode_directory.decoding_record(recognizer, result, data)
    if adapters:
        name = f"{len(every.terms)} adapters, by utterance"
        record["adapter"] = {"name": name, "path": str(adapter_per_speaker.absolute())}
    decode_directory.write_decode_directory(result, utterances, out, record)
    texts, minutes = plural(len(result.texts), "utterance"), result.audio_seconds / 60
    print(f"{out / 'text'}: {texts}, {minutes:.1f} minutes of audio in {result.seconds:.0f} s")
    print_notes(recognizer, has_hotwords=has_hotwords, with_confidences=not adapters)
    if result.bad:
        number = f"{record['bad_audio']} of {record['utterances']} utterances"
        has = "has" if record["bad_audio"] == 1 else "have"
        without = f"{record['without_output']} of them no output ({out / 'bad_audio'} lists them)"
        print(f"{number} {has} bad audio, {without}:\n{list_bad_audio(result.bad)}", file=sys.stderr)
    inputs.record(out)
    return int(record["without_output"] > 0 and not part)


def inputs_of(
    data: Path,
    spec: AdapterSpec,
    max_seconds: float | None,
    model_options: ModelOptions,
    search_options: SearchOptions,
    confidence_options: ConfidenceOptions,
    test_time_options: TestTimeOptions,
) -> Inputs:
    """The inputs of decoding `data` with all adapters of a spec."""
    base = spec.base(model_options.base)
    folder = base_folder(base)
    sources = {"data": data, "base": base_files(base), "adapter": tensor_files_of(spec)}
    sources |= {"lm": search_options.files(folder), "hotwords": search_options.hotwords}
    if spec.choice or spec.guard:  # the files that decide the choice, and the searches of the adapters
        folders = [*spec.folders, *filter(None, [folder])]
        files = [folder / name for folder in folders for name in (GATE, GUARD, *SEARCH_FILES)]
        sources["gate"] = [file for file in files if file.is_file()]
    searches = [search_options.search] if search_options.search else ["greedy", "beam"]
    options = {"base": base, "weights": [term.weight for term in spec.terms], "max_seconds": max_seconds}
    options |= {"dtype": model_options.dtype, "precision": model_options.precision}
    options["calibrations"] = stored_calibrations(folder, spec, searches) or None
    options |= vars(confidence_options) | vars(search_options)
    del options["lm"], options["hotwords"]  # which are sources
    rare = {name: getattr(model_options, name) for name in ("window", "language", "task")}
    options |= {name: value for name, value in (rare | vars(test_time_options)).items() if value}
    if spec.guard is not False:
        options["guard"] = spec.guard
    return Inputs(sources, options)


def utterances_without_output(decode_dir: Path, inputs: Inputs, force: bool) -> int | None:
    """Their number if DECODE_DIR was decoded from the same inputs, which is printed; else None."""
    whole = all((decode_dir / name).is_file() for name in ("text", "decode.json"))
    if not inputs.is_current(decode_dir, force or not whole):
        return None
    if count := read_json(decode_dir / "decode.json")["without_output"]:
        bad_audio = f"{plural(count, 'utterance')} without output ({decode_dir / 'bad_audio'} lists them)"
        print(f"{decode_dir}: {bad_audio}; --force decodes again", file=sys.stderr)
    return count


def put_together(parts: Sequence[Path], decode_dir: Path, inputs: Inputs, ids: Sequence[str]) -> int:
    """Make DECODE_DIR of its parts; returns the exit code."""
    record = decode_directory.gather_parts(parts, decode_dir, ids)
    bad = f", {record['bad_audio']} with bad audio" if record["bad_audio"] else ""
    texts = plural(record["utterances"], "utterance")
    print(f"{decode_dir / 'text'}: {texts}{bad}, of {len(parts)} parts")
    inputs.record(decode_dir)
    shutil.rmtree(decode_dir / PARTS_FOLDER)
    return int(record["without_output"] > 0)


def print_notes(recognizer: Recognizer, *, has_hotwords: bool, with_confidences: bool) -> None:
    """Print on stderr, at the end of a run, what the user may not expect of its output."""
    notes = [has_hotwords and unused_hotwords(recognizer.search), decoded_again(recognizer.search)]
    notes.append(with_confidences and uncalibrated(recognizer))
    for note in filter(None, notes):
        print(note, file=sys.stderr)
