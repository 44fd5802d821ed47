"""Score hypotheses: WER, CER and term error rate with intervals, by speaker and label, against a baseline.

    ia3-speech score data/test DECODE_DIR [--baseline DECODE_DIR2] [--terms FILE]

In: `text`, `utt2spk` and labels of the data directory, `DECODE_DIR/text`, and its word confidences (hyp.ctm)
if there are any. Out: a table on stdout, and in DECODE_DIR `score.json` (scoring/scorer.py) and Kaldi's
and sclite's files (scoring/kaldi_files.py); with --out DIR these go there, and DECODE_DIR is left alone.

- References and hypotheses are normalised alike (`--normalize`). A missing hypothesis counts as empty: its
  words are deletions.
- Numbers in references, hypotheses and terms are written in words (data/numbers_in_words.py), each text
  independently of the others, unless `--normalize none` is given.
- Single spaces between words count as characters in CER, as in jiwer.
- 95 % intervals are percentiles of a bootstrap over consultations if every utterance has that label, else
  over speakers (`--cluster`), and over utterances if there is only one cluster. A single utterance has no
  interval.
- A change is system − baseline, so a negative change is an improvement; `relative` divides it by the
  baseline's rate. Both have intervals over the same replicates as the baseline (paired).
- A rate whose reference is empty (no words, no occurrence of a term) is nan, and null in score.json.
"""

import dataclasses
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, Literal

from ia3_speech.adapters.record import read_json
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.overlap import find_overlap, find_overlap_by_speaker
from ia3_speech.data.numbers_in_words import numbers_in_words
from ia3_speech.errors import UserError
from ia3_speech.formatting import plural
from ia3_speech.inputs import Inputs, digest_of, tables_of
from ia3_speech.scoring.ctm import CONFIDENCES
from ia3_speech.scoring.kaldi_files import read_kaldi_text, write_kaldi_files
from ia3_speech.scoring.results import Results, format_results
from ia3_speech.scoring.scorer import json_value, score_hypotheses, write_score
from ia3_speech.scoring.significance import REPLICATIONS
from ia3_speech.scoring.term_errors import read_term_list

logger = logging.getLogger(__name__)

TASKS = "*/fold*/task.json"  # in the folder of speakers' adapters
NAMED_IDS = 5  # missing utterances that a warning names


def main(
    data: Path,
    decode_dir: Path,
    baseline: Path | None = None,
    terms: Path | None = None,
    normalize: Literal["ctc", "english", "none"] = "ctc",
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
        decode_dir: decode directory, which holds the hypotheses in `text`
        baseline: another decode directory of the same data, to compare with
        terms: file with one term (word or phrase) per line, and after TABs its categories
        normalize: text normalisation of both sides
        cluster: unit that the bootstrap draws: speaker, utterance or a label (default: consultation, else
            speaker)
        training: data directories that the system was trained on: sentences and speakers that occur there too
            are a warning, and the other sentences are scored separately (place this option after DATA
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
    from ia3_speech.confidence.reliability import measure_decode_directory

    if replications < 1:
        raise UserError("--replications: at least 1")
    if seed < 0:
        raise UserError("--seed: at least 0")
    if training and training_per_speaker:
        raise UserError("give --training, or --training-per-speaker")
    for flag, path in (("--baseline", baseline and baseline / "text"), ("--terms", terms)):
        if path and not path.is_file():  # to `Inputs` it would be absent, as if it were not given
            raise UserError(f"{flag}: {path}: no such file")
    directory = read_data_directory(data, wav=False, spk_sort=False)
    sources: dict[str, Any] = {
        "data": tables_of(data),
        "text": decode_dir / "text",
        "baseline": baseline and baseline / "text",
        "terms": terms,
    }
    if (decode_dir / CONFIDENCES).is_file():
        sources["confidences"] = decode_dir / CONFIDENCES
    if training:
        sources["training"] = [table for folder in training for table in tables_of(folder)]
    if training_per_speaker:
        sources["training"] = sorted(training_per_speaker.glob(TASKS))
    options = {"normalize": normalize, "cluster": cluster, "replications": replications, "seed": seed}
    identity = identify(data, decode_dir, system, system_seed, corpus)
    inputs = Inputs(sources, options | {name: identity[name] for name in ("system", "system_seed", "corpus")})
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
    if normalize != "none":  # hypotheses are treated alike, without a word: see `normalized_words`
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
    provenance: dict[str, Any] = {name: path and str(path) for name, path in paths.items()}
    provenance |= identity | {"compared_with": baseline and identify(data, baseline)}
    write_kaldi_files(out, score.scored, score.wer_bootci)
    record = write_score(out / "score.json", score, provenance)
    inputs.record(out / "scoring_kaldi")
    print(format_results(Results(record)), end="")


def identify(
    data: Path,
    decode_dir: Path,
    system: str | None = None,
    system_seed: int | None = None,
    corpus: str | None = None,
) -> dict[str, Any]:
    """Which result this is, as score.json records it: names that were given, else those of an earlier
    score.json, else what decode.json says.

    `search` is greedy, beam (without a language model), lm or hotwords; `scale` is the adapter's weight.
    """
    decoded, scored = (read_if_there(decode_dir / name) for name in ("decode.json", "score.json"))
    adapter = decoded.get("adapter")
    name = (adapter["name"] if adapter else "base") if decoded else str(decode_dir)
    search = decoded.get("search", "greedy")
    if search == "beam":
        search = "hotwords" if decoded.get("hotwords") else "lm" if decoded.get("lm") else "beam"
    terms = (adapter or {}).get("terms", ())
    return {
        "corpus": corpus or scored.get("corpus"),
        "system": system or scored.get("system") or name,
        "system_seed": scored.get("system_seed") if system is system_seed is None else system_seed,
        "search": search,
        "scale": terms[0]["weight"] if len(terms) == 1 else 1.0,
        "set": data.resolve().name,
        "base": decoded.get("base"),
        "adapter": adapter,
        "data_sha256": digest_of(tables_of(data)),
    }


def read_if_there(file: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file. Raises UserError where it is damaged."""
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{file}: {error} (damaged: ia3-speech decode --force writes it again)") from None


def read_adapted_on(folder: Path, data: DataDirectory) -> dict[str, list[str]]:
    """Utterance → what its speaker's adapter was trained on, all of which has to be in `data`."""
    adapted_on: dict[str, list[str]] = {}
    for task in map(read_json, sorted(folder.glob(TASKS))):
        adapted_on |= dict.fromkeys(task["texts"], task["trained_on"])
    if not adapted_on:
        raise UserError(
            f"{folder}: no SPEAKER/foldN/task.json that tested an utterance (run ia3-speech speakers with "
            f"--folds 4)"
        )
    if unknown := set().union(*adapted_on.values()) - {utterance.id for utterance in data}:
        raise UserError(
            f"{folder}: adapters were trained on utterance {min(unknown)}, which is not in {data.path} "
            f"(is it the data that `ia3-speech speakers` was given?)"
        )
    return adapted_on


def read_hypotheses(folder: Path, data: DataDirectory) -> dict[str, str]:
    """The texts of a decode directory; what is missing or of other utterances is logged."""
    path, ids = folder / "text", {utterance.id for utterance in data}
    texts = read_kaldi_text(path)
    if missing := sorted(ids - set(texts)):
        named = ", ".join(missing[:NAMED_IDS]) + (" …" if len(missing) > NAMED_IDS else "")
        count = plural(len(missing), "utterance")
        logger.warning("%s: no hypothesis for %s, all their words count as deleted: %s", path, count, named)
    if others := set(texts) - ids:
        logger.warning("%s: %s not in %s, not scored", path, plural(len(others), "utterance"), data.path)
    return texts


COMMAND = main
