"""Kaldi's and sclite's scoring files, to the byte.

In: scored utterances. Out:

    DECODE_DIR/wer_1_0.0                            compute-wer's three lines, which best_wer.sh reads
    DECODE_DIR/scoring_kaldi/best_wer               the %WER line and the path of its file
    DECODE_DIR/scoring_kaldi/test_filt.txt          the scored references
    DECODE_DIR/scoring_kaldi/penalty_0.0/1.txt      the scored hypotheses
    DECODE_DIR/scoring_kaldi/wer_details/           per_utt per_spk ops wer_bootci lmwt wip
    DECODE_DIR/{ref,hyp}.trn                        the same texts for sclite

Kaldi's file names contain a language model weight and an insertion penalty; greedy search has neither, so
they are 1 and 0.0. An utterance without a hypothesis counts as deleted in every file. Kaldi's scripts omit it
from the details and, in their default mode, from the score; this difference is intended.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ia3_speech.common.atomic import write_text
from ia3_speech.data.kaldi.table_file import format_table
from ia3_speech.scoring.alignment import ErrorCounts, Pair, count_as_kaldi, operation
from ia3_speech.scoring.error_rates import ScoredUtterance
from ia3_speech.scoring.significance import UtteranceBootstrap

GAP = "***"  # printed by Kaldi's scripts if a side has no word
OPERATION_NAMES = {"C": "correct", "S": "substitution", "I": "insertion", "D": "deletion"}


def write_kaldi_files(folder: Path, scored: Sequence[ScoredUtterance], bootstrap: UtteranceBootstrap) -> str:
    """Write all files listed above into the decode directory `folder`; → compute-wer's three lines."""
    details = folder / "scoring_kaldi/wer_details"
    pairs, speakers = {u.id: u.pairs for u in scored}, {u.id: u.speaker for u in scored}
    references = {utterance.id: " ".join(utterance.reference) for utterance in scored}
    hypotheses = {utterance.id: " ".join(utterance.hypothesis) for utterance in scored}
    errors = (count_as_kaldi(utterance.reference, utterance.hypothesis) for utterance in scored)
    wer = format_wer_lines(sum(errors, ErrorCounts()), sum(utterance.missing for utterance in scored))
    files = {
        folder / "wer_1_0.0": wer,
        folder / "ref.trn": format_trn(references, speakers),
        folder / "hyp.trn": format_trn(hypotheses, speakers),
        folder / "scoring_kaldi/best_wer": f"{wer.splitlines()[0]} {folder}/wer_1_0.0\n",
        folder / "scoring_kaldi/test_filt.txt": format_table(references.items()),
        folder / "scoring_kaldi/penalty_0.0/1.txt": format_table(hypotheses.items()),
        details / "per_utt": format_per_utt(pairs),
        details / "per_spk": format_per_spk(pairs, speakers),
        details / "ops": format_ops(pairs),
        details / "wer_bootci": str(bootstrap),
        details / "lmwt": "1\n",
        details / "wip": "0.0\n",
    }
    for path, text in files.items():
        write_text(path, text)
    return wer


def format_wer_lines(errors: ErrorCounts, missing: int) -> str:
    """compute-wer's three lines, in its mode `all`: the `missing` hypotheses count as empty.

    %WER 35.71 [ 5 / 14, 2 ins, 1 del, 2 sub ]
    %SER 60.00 [ 3 / 5 ]
    Scored 5 sentences, 0 not present in hyp.
    """
    partial = " [PARTIAL]" if missing else ""
    return (
        f"%WER {single_precision_percent(errors.total, errors.words):.2f} "
        f"[ {errors.total} / {errors.words}, {errors.insertions} ins, {errors.deletions} del, "
        f"{errors.substitutions} sub ]{partial}\n"
        f"%SER {single_precision_percent(errors.wrong_utterances, errors.utterances):.2f} "
        f"[ {errors.wrong_utterances} / {errors.utterances} ]\n"
        f"Scored {errors.utterances} sentences, {missing} not present in hyp.\n"
    )


def single_precision_percent(part: int, whole: int) -> float:
    """Percentage in compute-wer's single precision, which rounds halves otherwise; nan if `whole` is 0."""
    return float(np.float32(100.0 * float(np.float32(part)) / float(np.float32(whole)))) if whole else np.nan


def format_per_utt(aligned: Mapping[str, list[Pair]]) -> str:
    """As wer_per_utt_details.pl: four lines for each utterance, in centred columns, whose left margin is the
    wider:

    ann-1 ref  the  patient  has  ***  atrial  fibrillation
    ann-1 hyp  the  patient  has   a    trial  fibrillation
    ann-1 op    C      C      C    I      S          C
    ann-1 #csid 4 1 1 0
    """
    lines = []
    for utterance, pairs in aligned.items():
        operations = [operation(pair) for pair in pairs]
        columns = [(r or GAP, h or GAP, op) for (r, h), op in zip(pairs, operations, strict=True)]
        widths = [max(map(len, column)) for column in columns]
        for row, name in enumerate(("ref ", "hyp ", "op  ")):
            cells = (centre(column[row], width) for column, width in zip(columns, widths, strict=True))
            lines.append(f"{utterance} {name} {'  '.join(cells)}\n")
        counts = " ".join(str(operations.count(op)) for op in "CSID")
        lines.append(f"{utterance} #csid {counts}\n")
    return "".join(lines)


def centre(word: str, width: int) -> str:
    right = (width - len(word)) // 2
    return " " * (width - len(word) - right) + word + " " * right


def format_per_spk(aligned: Mapping[str, list[Pair]], utt2spk: Mapping[str, str]) -> str:
    """As wer_per_spk_details.pl: counts (`raw`) and percentages (`sys`) of each speaker and of all:

    SPEAKER         id       #SENT      #WORD       Corr        Sub        Ins        Del        Err      S.Err
    bob             raw          2          3          2          1          1          0          2          1
    bob             sys          2          3      66.67      33.33      33.33       0.00      66.67      50.00
    SUM             raw          2          3          2          1          1          0          2          1
    SUM             sys          2          3      66.67      33.33      33.33       0.00      66.67      50.00
    """  # noqa: E501
    width = max(15, *map(len, utt2spk.values()), 0)
    speakers: dict[str, Counter] = {}
    for utterance, pairs in aligned.items():
        counts = Counter(map(operation, pairs))
        counts |= {"sentences": 1, "wrong": int(any(counts[op] for op in "SID"))}
        speakers.setdefault(utt2spk[utterance], Counter()).update(counts)
    total = sum(speakers.values(), Counter())
    heads = ["#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err"]
    header = f"{'SPEAKER':<{width}} id " + "".join(f" {head:>10}" for head in heads) + "\n"
    lines = [header]
    for name, counts in [*((name, speakers[name]) for name in sorted(speakers)), ("SUM", total)]:
        c, s, i, d = (counts[op] for op in "CSID")
        sentences, wrong, words = counts["sentences"], counts["wrong"], c + s + d
        raw = [sentences, words, c, s, i, d, s + d + i, wrong]
        lines.append(f"{name:<{width}} raw" + "".join(f" {value:>10d}" for value in raw) + "\n")
        if words:  # Kaldi prints no percentages without reference words
            rates = [100 * value / words for value in (c, s, i, d, s + d + i)] + [100 * wrong / sentences]
            shown = "".join(f" {rate:>10.2f}" for rate in rates)
            lines.append(f"{name:<{width}} sys {sentences:>10d} {words:>10d}{shown}\n")
    return "".join(lines)


def format_ops(aligned: Mapping[str, list[Pair]]) -> str:
    """How often each pair occurs, as wer_ops_details.pl | sort -b -i -k 1,1 -k 4,4rn -k 2,2 -k 3,3 prints it
    under LC_ALL=C:

    correct       metformin    metformin    1
    correct           start        start    1
    insertion           ***           to    1
    substitution      today          day    1
    """
    counts = Counter(pair for pairs in aligned.values() for pair in pairs)
    words = min(16, max((len(word or GAP) for pair in counts for word in pair), default=0))
    digits = max((len(str(times)) for times in counts.values()), default=0)
    rows = []
    for pair, times in counts.items():
        kind, reference, hypothesis = OPERATION_NAMES[operation(pair)], pair[0] or GAP, pair[1] or GAP
        line = f"{kind:<12}  {reference:>{words}}    {hypothesis:>{words}}    {times:>{digits}d}\n"
        rows.append((kind, -times, printable(reference), printable(hypothesis), line.encode()))
    return b"".join(row[-1] for row in sorted(rows)).decode()


def printable(word: str) -> bytes:
    """The bytes that `sort -i` compares: in the C locale, printable ASCII."""
    return bytes(byte for byte in word.encode() if 0x20 <= byte < 0x7F)


def format_trn(texts: Mapping[str, str], utt2spk: Mapping[str, str]) -> str:
    """sclite's transcript format, from {utterance id: text}: `words (speaker-utterance)` a line."""
    lines = (f"{text} ({utt2spk[utterance]}-{utterance})" for utterance, text in texts.items())
    return "".join(f"{line.lstrip()}\n" for line in lines)
