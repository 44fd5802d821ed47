"""Score hypotheses: WER, CER and term error rate with intervals, by speaker and label, beside a baseline.

    python -m ia3_speech.score data/test DECODE_DIR [--baseline DECODE_DIR2] [--terms FILE]

In: DATA's `text`, `utt2spk` and labels, and `DECODE_DIR/text`. Out: a table on stdout; `score.json` in
DECODE_DIR (`"schema": 1`, rates are fractions), and Kaldi's and sclite's files (scoring_kaldi.py lists them).

- Both sides go through the hooks `local/wer_{ref,hyp,output}_filter`, if there are any, then through the same
  normalisation (`--normalize`). A missing hypothesis is an empty one: its words are deletions.
- CER counts the single spaces between words as characters, as jiwer does; jiwer checks both totals.
- 95 % intervals are percentiles of a bootstrap over consultations where every utterance has that label,
  else over speakers (`--cluster`); over utterances where there is only one cluster (`ci_unit` tells).
  One utterance alone has none.
- Changes against the baseline are system − baseline, so that an improvement is negative, and `relative` is
  that by the baseline's rate; both with intervals over the same draws (paired).
- A rate of nothing (no reference words, no occurrence of a term) is not a number: nan, `null` in score.json.
"""

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.text import normalize as normalize_text
from ia3_speech.inputs import Inputs, tables_of
from ia3_speech.scoring import kaldi_files as scoring_kaldi
from ia3_speech.scoring.alignment import Errors, align, count, edit_distance
from ia3_speech.scoring.error_rates import Rates, ScoredUtterance, label_of, make_rates
from ia3_speech.scoring.significance import (
    REPLICATIONS,
    Mapsswe,
    UtteranceBootstrap,
    mapsswe,
    utterance_bootstrap,
)
from ia3_speech.scoring.table import format_table
from ia3_speech.scoring.term_errors import Terms, count_terms, read_terms

logger = logging.getLogger(__name__)

SCHEMA = 1


@dataclass(kw_only=True)
class Score(Rates):
    """The rates of a data directory, by label, and the tests; the rows are the utterances."""

    normalize: str
    replications: int
    seed: int
    by_label: dict[str, dict[str, Rates]]  # label ("speaker" is one) → value → rates
    wer_bootci: UtteranceBootstrap  # Kaldi's
    mapsswe: Mapsswe | None = None  # of baseline and system: a positive mean says that the system is better
    baseline: Rates | None = None
    rows: list[ScoredUtterance]
    baseline_rows: list[ScoredUtterance] | None = None


def word_errors(references: Sequence[str], hypotheses: Sequence[str], normalize: str = "ctc") -> Errors:
    """Count the word errors of texts, one hypothesis a reference, both normalised: `.wer` is a fraction.

    Light enough for every epoch. The wer of no reference words is nan.
    """
    total = Errors()
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        total += count(split(reference, normalize), split(hypothesis, normalize))
    return total


def score(
    data: DataDirectory,
    hypotheses: Mapping[str, str],
    *,
    baseline: Mapping[str, str] | None = None,
    terms: Terms | None = None,
    normalize: str = "ctc",
    cluster: str | None = None,
    replications: int = REPLICATIONS,
    seed: int = 0,
) -> Score:
    """Score `hypotheses` ({utterance id: text}), and `baseline` beside them, against the texts of `data`.

    Raises UserError where nothing can be scored: no utterances, one without a text, no hypothesis that
    belongs here, or a cluster label that not every utterance has.
    """
    rows = score_utterances(data, hypotheses, terms, normalize)
    baseline_rows = None if baseline is None else score_utterances(data, baseline, terms, normalize)
    unit = cluster_unit(rows, cluster)

    def rate(numbers: Sequence[int], compare: bool = True) -> Rates:
        against = [baseline_rows[n] for n in numbers] if baseline_rows and compare else None
        return make_rates([rows[n] for n in numbers], against, terms, unit, replications, seed)

    whole = rate(range(len(rows)))
    labels = ["speaker", *sorted({name for row in rows for name in row.labels} - {"speaker"})]
    result = Score(
        **vars(whole),
        normalize=normalize,
        replications=replications,
        seed=seed,
        by_label={
            label: {value: rate(numbers) for value, numbers in group(rows, label).items()} for label in labels
        },
        wer_bootci=utterance_bootstrap(
            [row.errors.total for row in rows],
            [row.errors.words for row in rows],
            baseline_rows and [row.errors.total for row in baseline_rows],
            replications,
            seed,
        ),
        rows=rows,
    )
    if baseline_rows is not None:
        result.baseline_rows = baseline_rows
        result.baseline = make_rates(baseline_rows, None, terms, unit, replications, seed)
        result.mapsswe = mapsswe(
            [row.reference for row in rows],
            [row.hypothesis for row in baseline_rows],
            [row.hypothesis for row in rows],
        )
    return result


def score_utterances(
    data: DataDirectory, hypotheses: Mapping[str, str], terms: Terms | None, normalize: str
) -> list[ScoredUtterance]:
    if not len(data):
        raise UserError(f"{data.path}: no utterances to score")
    if not any(utterance.id in hypotheses for utterance in data):
        raise UserError(
            f"{data.path}: none of its utterances has a hypothesis (is it the set that was decoded?)"
        )
    rows = []
    for utterance in data:
        if utterance.text is None:
            raise UserError(f"{data.path}/text: utterance {utterance.id} has no reference text")
        reference = split(utterance.text, normalize)
        hypothesis = split(hypotheses.get(utterance.id, ""), normalize)
        pairs = align(reference, hypothesis)
        rows.append(
            ScoredUtterance(
                id=utterance.id,
                speaker=utterance.speaker,
                labels=utterance.labels,
                reference=reference,
                hypothesis=hypothesis,
                missing=utterance.id not in hypotheses,
                pairs=pairs,
                errors=count(reference, hypothesis),
                characters=len(" ".join(reference)),
                character_errors=edit_distance(" ".join(reference), " ".join(hypothesis)),
                terms=count_terms(pairs, terms) if terms else np.zeros((1, 3), dtype=np.int64),
            )
        )
    check_with_jiwer(rows)
    return rows


def split(text: str, normalize: str) -> list[str]:
    return normalize_text(text, normalize).split()


def check_with_jiwer(rows: Sequence[ScoredUtterance]) -> None:
    """An independent implementation must find as many errors; how ties are split is its own affair."""
    import jiwer

    texts = ([" ".join(row.reference) for row in rows], [" ".join(row.hypothesis) for row in rows])
    for found, ours in (
        (jiwer.process_words(*texts), sum(row.errors.total for row in rows)),
        (jiwer.process_characters(*texts), sum(row.character_errors for row in rows)),
    ):
        theirs = found.substitutions + found.deletions + found.insertions
        if theirs != ours:
            raise RuntimeError(f"jiwer counts {theirs} errors and we count {ours}: a bug, please report it")


def cluster_unit(rows: Sequence[ScoredUtterance], cluster: str | None) -> str:
    """What the bootstrap draws: the label asked for, else consultations where all have one, else speakers."""
    if cluster is None:
        return "consultation" if all("consultation" in row.labels for row in rows) else "speaker"
    for row in rows:
        if cluster not in ("speaker", "utterance", *row.labels):
            labels = ", ".join(["speaker", "utterance", *sorted(row.labels)])
            raise UserError(f"--cluster {cluster}: utterance {row.id} has no such label (it has {labels})")
    return cluster


def group(rows: Sequence[ScoredUtterance], label: str) -> dict[str, list[int]]:
    """Value of the label → positions in `rows`, values sorted."""
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(label_of(row, label), []).append(number)
    return dict(sorted(groups.items()))


def to_json(result: Score) -> dict[str, Any]:
    """The contents of score.json, apart from where they came from: rates as fractions, null for nan."""
    fields = {name: value for name, value in vars(result).items() if not name.endswith("rows")}
    if result.baseline is None:
        del fields["baseline"], fields["mapsswe"]
    return plain(fields)


def plain(value: Any) -> Any:
    """Dataclasses, numpy numbers and nan as JSON has them."""
    if dataclasses.is_dataclass(value):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write(result: Score, folder: Path, origin: Mapping[str, Any]) -> None:
    """Write Kaldi's and sclite's files into `folder`, and score.json, with `origin` in front, last."""
    rows, details = result.rows, folder / "scoring_kaldi/wer_details"
    aligned = {row.id: row.pairs for row in rows}
    references = {row.id: " ".join(row.reference) for row in rows}
    hypotheses = {row.id: " ".join(row.hypothesis) for row in rows}
    report = scoring_kaldi.wer_report(sum((row.errors for row in rows), Errors()), result.missing)
    files = {
        folder / "wer_1_0.0": report,
        folder / "ref.trn": scoring_kaldi.trn((row.id, row.speaker, references[row.id]) for row in rows),
        folder / "hyp.trn": scoring_kaldi.trn((row.id, row.speaker, hypotheses[row.id]) for row in rows),
        folder / "scoring_kaldi/best_wer": scoring_kaldi.best_wer(report, f"{folder}/wer_1_0.0"),
        folder / "scoring_kaldi/test_filt.txt": scoring_kaldi.format_text(references),
        folder / "scoring_kaldi/penalty_0.0/1.txt": scoring_kaldi.format_text(hypotheses),
        details / "per_utt": scoring_kaldi.per_utt(aligned),
        details / "per_spk": scoring_kaldi.per_spk(aligned, {row.id: row.speaker for row in rows}),
        details / "ops": scoring_kaldi.ops(aligned),
        details / "wer_bootci": str(result.wer_bootci),
        details / "lmwt": "1\n",
        details / "wip": "0.0\n",
    }
    for path, text in files.items():
        write_text(path, text)
    write_json(folder / "score.json", {"schema": SCHEMA, **origin, **to_json(result)})


def main(
    data: Path,
    decode_dir: Path,
    baseline: Path | None = None,
    terms: Path | None = None,
    normalize: Literal["ctc", "english", "none"] = "ctc",
    cluster: str | None = None,
    replications: int = REPLICATIONS,
    seed: int = 0,
    force: bool = False,
) -> None:
    """Score DECODE_DIR/text against a Kaldi data directory; write score.json and Kaldi's files beside it.

    Args:
        data: data directory with text, utt2spk and any utt2LABEL or spk2LABEL
        decode_dir: where decode wrote its text
        baseline: another decode directory of the same data, to compare with
        terms: file with one term a line (word or phrase), after TABs its categories
        normalize: text normalisation of both sides
        cluster: what the bootstrap draws: speaker, utterance or a label (default: consultation, else speaker)
        replications: draws of each bootstrap
        seed: of the draws
        force: score again what DECODE_DIR/scoring_kaldi/inputs.json says was scored from the same inputs
    """
    if replications < 1:
        raise UserError("--replications: at least 1")
    directory = read_data_directory(data, wav=False, spk_sort=False)
    hooks = {side: scoring_kaldi.filter_for(side) for side in ("ref", "hyp")}
    made = Inputs(
        {"data": tables_of(data), "text": decode_dir / "text", "baseline": baseline and baseline / "text",
         "terms": terms, "filters": [hook for hook in hooks.values() if hook]},
        {"normalize": normalize, "cluster": cluster, "replications": replications, "seed": seed},
    )  # fmt: skip
    if (decode_dir / "score.json").is_file() and made.is_current(decode_dir / "scoring_kaldi", force):
        return
    if hooks["ref"]:
        kept = scoring_kaldi.run_filter(hooks["ref"], {one.id: one.text or "" for one in directory})
        utterances = [dataclasses.replace(one, text=kept[one.id]) for one in directory if one.id in kept]
        directory = dataclasses.replace(directory, utterances=utterances)

    def hypotheses_of(folder: Path) -> dict[str, str]:
        texts = scoring_kaldi.read_text(folder / "text")
        texts = scoring_kaldi.run_filter(hooks["hyp"], texts) if hooks["hyp"] else texts
        report_mismatch(directory, texts, folder / "text")
        return texts

    result = score(
        directory,
        hypotheses_of(decode_dir),
        baseline=hypotheses_of(baseline) if baseline else None,
        terms=read_terms(terms, normalize) if terms else None,
        normalize=normalize,
        cluster=cluster,
        replications=replications,
        seed=seed,
    )
    places = {"data": data, "decode_dir": decode_dir, "baseline_dir": baseline, "terms_file": terms}
    origin: dict[str, Any] = {name: path and str(path) for name, path in places.items()}
    origin["filters"] = {side: hook and str(hook) for side, hook in hooks.items()}
    write(result, decode_dir, origin)
    made.record(decode_dir / "scoring_kaldi")
    print(format_table(result), end="")


def report_mismatch(data: DataDirectory, hypotheses: Mapping[str, str], path: Path) -> None:
    """Say on stderr which utterances lack a hypothesis, and how many hypotheses are of other utterances."""
    ids = {utterance.id for utterance in data}
    if missing := sorted(ids - set(hypotheses)):
        first = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        logger.warning(
            "%s: %d utterances are missing, all their words count as deleted: %s", path, len(missing), first
        )
    if others := set(hypotheses) - ids:
        logger.warning("%s: %d utterances are not in %s and not scored", path, len(others), data.path)


if __name__ == "__main__":
    command(main)
