"""Score hypotheses: WER, CER and term error rate with intervals, by speaker and label, against a baseline.

    ia3-speech score data/test DECODE_DIR [--baseline DECODE_DIR2] [--terms FILE]

In: `text`, `utt2spk` and labels of the data directory, `DECODE_DIR/text`, and its word confidences (hyp.ctm)
if there are any. Out: a table on stdout, and in DECODE_DIR (or --out DIR) `score.json` and Kaldi's and
sclite's files. References and hypotheses are normalised alike (`--normalize`; by Whisper's English normaliser
if the base is a Whisper), numbers in words; a missing hypothesis counts as empty. 95 % intervals are
percentiles of a bootstrap over consultations if each utterance has that label, else over speakers
(`--cluster`). A change is system − baseline, paired: negative is better.
"""

import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Literal

from ia3_speech.adapters.record import read_json
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import percent, plural, shorten
from ia3_speech.common.inputs import Inputs, digest_of, tables_of
from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.overlap import find_overlap, find_overlap_by_speaker
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.data.numbers_in_words import numbers_in_words
from ia3_speech.decoding.formats import CONFIDENCES
from ia3_speech.scoring import sentences
from ia3_speech.scoring.error_rates import rates_table, terms_table
from ia3_speech.scoring.kaldi_files import write_kaldi_files
from ia3_speech.scoring.record import Result, identify, json_value, load_json, score_hypotheses, write_score
from ia3_speech.scoring.sentences import MARK
from ia3_speech.scoring.significance import REPLICATIONS
from ia3_speech.scoring.term_errors import read_term_list

logger = logging.getLogger(__name__)

TASKS = "*/fold*/task.json"  # in the folder of speakers' adapters
MAX_NAMED = 5  # missing utterances in a warning
MAX_VALUES = 12  # a label with more values gets a single line, the range of its WER


def main(
    data: Path,
    decode_dir: Path,
    baseline: Path | None = None,
    terms: Path | None = None,
    normalize: Literal["ctc", "english", "none"] | None = None,
    cluster: str | None = None,
    training: list[Path] | None = None,
    training_per_speaker: Path | None = None,
    replications: int = REPLICATIONS,
    seed: int = 0,
    system: str | None = None,
    system_seed: int | None = None,
    corpus: str | None = None,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Score DECODE_DIR/text against a Kaldi data directory; write score.json and Kaldi's files beside it.

    Args:
        data: data directory with text, utt2spk and any utt2LABEL or spk2LABEL
        decode_dir: decode directory with the hypotheses in `text`
        baseline: another decode directory of the same data, to compare with
        terms: file with one term (word or phrase) per line, and after TABs its categories
        normalize: text normalisation of both sides (default: english, Whisper's, for hypotheses of a Whisper
            base, else ctc)
        cluster: unit that the bootstrap draws: speaker, utterance or a label (default: consultation, else
            speaker)
        training: data directories that the system was trained on: a warning names sentences and speakers that
            also occur there, and the other sentences are scored separately (place this option after DATA
            DECODE_DIR, or before another option)
        training_per_speaker: folder written by `ia3-speech speakers`, which tested these utterances: as
            --training, for sentences that the speaker's own adapter was trained on
        replications: replicates of each bootstrap
        seed: random seed of the bootstraps
        system: name of the system, which score.json records (default: the adapter's name, or base)
        system_seed: seed that the system was trained with
        corpus: name of the corpus
        out: folder for score.json and Kaldi's files, for example to score with other options than a recipe
            (default: DECODE_DIR)
        force: score again even if scoring_kaldi/inputs.json shows the same inputs
    """
    from ia3_speech.decoding.reliability import measure_decode_directory

    if replications < 1 or seed < 0:
        raise UserError("--replications: at least 1; --seed: at least 0")
    if training and training_per_speaker:
        raise UserError("give either --training or --training-per-speaker, not both")
    for flag, path in (("--baseline", baseline and baseline / "text"), ("--terms", terms)):
        if path and not path.is_file():  # `Inputs` would treat it as not given
            raise UserError(f"{flag}: {path}: no such file")
    if normalize is None:
        normalize = load_json(decode_dir / "decode.json", None).get("scoring", "ctc")
        if normalize == "english":
            print("both sides normalised by Whisper's English normaliser, as for all Whisper bases")
    directory = read_data_directory(data, wav=False, spk_sort=False)
    sources = {"data": tables_of(data), "text": decode_dir / "text", "confidences": decode_dir / CONFIDENCES}
    sources |= {"baseline": baseline and baseline / "text", "terms": terms}
    if training:
        sources["training"] = [table for folder in training for table in tables_of(folder)]
    if training_per_speaker:
        sources["training"] = sorted(training_per_speaker.glob(TASKS))
    options = {"normalize": normalize, "cluster": cluster, "replications": replications, "seed": seed}
    set_name = data.resolve().name
    identity = identify(decode_dir, set_name, system, system_seed, corpus)
    named = {name: identity[name] for name in ("corpus", "system", "system_seed", "set")}
    inputs = Inputs(sources, options | named)
    out = out or decode_dir
    if (out / "score.json").is_file() and inputs.is_current(out / "scoring_kaldi", force):
        if "IA3_SPEECH_COMMAND" not in os.environ:  # which recipes set
            print(f"(the rates: {out}/score.json; --force prints them again)", file=sys.stderr)
        return
    overlap = None
    if training:
        trained_on = [read_data_directory(folder, wav=False, spk_sort=False) for folder in training]
        overlap = find_overlap(trained_on, directory)
    elif training_per_speaker:
        overlap = find_overlap_by_speaker(read_adapted_on(training_per_speaker, directory), directory)
    hypotheses = read_hypotheses(decode_dir, directory)
    against = read_hypotheses(baseline, directory) if baseline else None
    if normalize != "none":  # `normalized_words` treats hypotheses alike, without a message
        utterances = numbers_in_words(directory.utterances, f"{directory.path}/text", "as in the hypotheses")
        directory = dataclasses.replace(directory, utterances=utterances)
    score = score_hypotheses(
        directory,
        hypotheses,
        baseline=against,
        terms=read_term_list(terms, normalize) if terms else None,
        overlap=overlap,
        **options,
    )
    score.confidences = json_value(measure_decode_directory(decode_dir, score))
    paths = {"data": data, "decode_dir": decode_dir, "baseline_dir": baseline, "terms_file": terms}
    provenance = {name: path and str(path) for name, path in paths.items()} | identity
    provenance["data_sha256"] = digest_of(tables_of(data))
    provenance["compared_with"] = baseline and identify(baseline, set_name)
    print(write_kaldi_files(out, score.scored, score.wer_bootci))
    record = write_score(out / "score.json", score, provenance)
    inputs.record(out / "scoring_kaldi")
    bootstrap = f"Kaldi's bootstrap over utterances:\n{score.wer_bootci}"
    print(format_result(Result(record, out)), bootstrap, sep="", end="")


def read_adapted_on(folder: Path, data: DataDirectory) -> dict[str, list[str]]:
    """Utterance → the training utterances of its speaker's adapter. Raises UserError if `data` lacks any."""
    adapted_on: dict[str, list[str]] = {}
    for task in map(read_json, sorted(folder.glob(TASKS))):
        adapted_on |= dict.fromkeys(task["texts"], task["trained_on"])
    if not adapted_on:
        hint = "run ia3-speech speakers with --folds 4"
        raise UserError(f"{folder}: no SPEAKER/foldN/task.json that tested an utterance ({hint})")
    if unknown := set().union(*adapted_on.values()) - {utterance.id for utterance in data}:
        raise UserError(f"{folder}: trained on utterance {min(unknown)}, which is not in {data.path}")
    return adapted_on


def read_hypotheses(folder: Path, data: DataDirectory) -> dict[str, str]:
    """The texts of a decode directory; missing texts and texts of other utterances are logged."""
    path, ids = folder / "text", {utterance.id for utterance in data}
    texts = read_kaldi_text(path)
    if missing := sorted(ids - set(texts)):
        count, named = plural(len(missing), "utterance"), shorten(missing, most=MAX_NAMED)
        logger.warning("%s: no hypothesis for %s, all their words count as deleted: %s", path, count, named)
    if others := set(texts) - ids:
        logger.warning("%s: %s not in %s, not scored", path, plural(len(others), "utterance"), data.path)
    return texts


def format_result(result: Result) -> str:
    """The tables and notes that the command prints below Kaldi's lines; score.json has every number.

                  utterances  words  WER %  [95 % interval]  CER %  MER %  WIL %  …
    all                    5     14  35.71   [25.00, 66.67]   6.17  31.25  42.38
    speaker ann            2      7  28.57    [0.00, 40.00]   2.33  25.00  35.71
    """
    head = ["", "utterances", "words", "WER %", "CER %", "MER %", "WIL %"]
    head += ["term errors %"] if result.terms else []
    head += ["before %", "change %"] if result.has_baseline else []
    rows, ranges = [("all", result.all)], []
    if result.unseen:
        rows.append(("sentences not in training", result.unseen))
    for label, values in result.by_label.items():
        rates = sorted(row.wer for row in values.values() if row.words)
        if 1 < len(values) <= MAX_VALUES:
            for value, row in values.items():
                mark = MARK if result.is_marked(label, row) else ""
                rows.append((f"{label} {value}{mark}", row))
        elif len(values) > MAX_VALUES and rates:
            middle, low, high = (percent(rate, 2) for rate in (median(rates), rates[0], rates[-1]))
            ranges.append(f"{label}: {len(values)} values, median WER {middle}, from {low} to {high}\n")
    blocks = [rates_table("rates", "Rates", head, [(*row, {}) for row in rows]).terminal() + "".join(ranges)]
    if result.terms:
        blocks.append(terms_table(result.terms, result.has_baseline).terminal())
    is_marked = any(name.endswith(MARK) for name, _ in rows)
    blocks.append("".join(f"{line}\n" for line in notes(result, is_marked)))
    return "\n".join(blocks)


def notes(result: Result, is_marked: bool) -> Iterator[str]:
    """How the intervals were computed, the tests, and warnings; `is_marked`: whether a row has a mark."""
    yield f"Rates in percent. {sentences.interval_sentence(result)}"
    if is_marked:
        yield sentences.few_clusters_sentence(result.all.ci_unit)
    if result.has_baseline:
        yield "Change: relative to the baseline, paired; negative is better."
    if test := result.record.get("mapsswe"):
        segments = plural(test["segments"], "segment")
        yield f"MAPSSWE, baseline against system: {segments}, z = {test['z']:.3f}, p = {test['p']:.3g}"
    warnings = [*result.warnings, *sentences.size_warnings(result, "the test set")]
    yield from (f"Warning: {text}." for text in warnings)
    if sentence := sentences.no_overlap_sentence(result):
        yield sentence
    if result.confidences:
        yield sentences.reliability_sentence(result.confidences)
    for name, rates in (("system", result.record), ("baseline", result.record.get("baseline"))):
        if rates and rates["missing"]:
            yield sentences.missing_sentence(rates["missing"], f"the {name}")
