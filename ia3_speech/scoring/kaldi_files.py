"""Kaldi's and sclite's scoring files, to the byte: texts in, texts out, and the hooks under `local/`.

    DECODE_DIR/wer_1_0.0                            compute-wer's three lines, where best_wer.sh looks
    DECODE_DIR/scoring_kaldi/best_wer               the %WER line and the file it stands in
    DECODE_DIR/scoring_kaldi/test_filt.txt          references as scored
    DECODE_DIR/scoring_kaldi/penalty_0.0/1.txt      hypotheses as scored
    DECODE_DIR/scoring_kaldi/wer_details/           per_utt per_spk ops wer_bootci lmwt wip
    DECODE_DIR/{ref,hyp}.trn                        the same texts for sclite

Kaldi's names carry a language model weight and an insertion penalty; greedy search has neither, so they are
1 and 0.0. One difference from Kaldi's script is meant: an utterance without a hypothesis counts as deleted
in every file, where Kaldi leaves it out of the details and, in its default mode, out of the score.
"""

import logging
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.scoring.alignment import Errors, Pair, operation

logger = logging.getLogger(__name__)

GAP = "***"  # what Kaldi's scripts print where one side has no word
ARCHITECTURES = {"C": "correct", "S": "substitution", "I": "insertion", "D": "deletion"}


def read_text(path: Path) -> dict[str, str]:
    """A Kaldi text file: `utterance-id words…` a line, the words may be missing. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file (python -m ia3_speech.decode writes it)")
    return parse_text(path.read_bytes(), str(path))


def parse_text(content: bytes, name: str) -> dict[str, str]:
    """The contents of a Kaldi text file as {utterance id: text}; `name` is what an error calls them."""
    try:
        lines = content.decode().removesuffix("\n").split("\n") if content else []
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8 text ({error})") from error
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        utterance, *text = line.split(maxsplit=1) or [""]
        if not utterance:
            raise UserError(f"{name}:{number}: an empty line (expected an utterance id and its words)")
        if utterance in texts:
            raise UserError(f"{name}:{number}: utterance {utterance} occurs twice")
        texts[utterance] = text[0].strip() if text else ""
    return texts


def format_text(texts: Mapping[str, str]) -> str:
    """Back to lines; an empty text is a line with only the id."""
    return "".join(f"{utterance} {text}".rstrip() + "\n" for utterance, text in texts.items())


def filter_for(side: str, folder: Path = Path("local")) -> Path | None:
    """The executable hook of "ref" or "hyp": `local/wer_<side>_filter`, else `local/wer_output_filter`."""
    for hook in (folder / f"wer_{side}_filter", folder / "wer_output_filter"):
        if hook.is_file() and os.access(hook, os.X_OK):
            return hook
    return None


def run_filter(hook: Path, texts: Mapping[str, str]) -> dict[str, str]:
    """Send the lines of `texts` through `hook`, as Kaldi does; what it drops is gone. Raises UserError."""
    try:
        done = subprocess.run(
            [str(hook.resolve())], input=format_text(texts).encode(), capture_output=True, check=False
        )
    except OSError as error:  # no #! line, or its interpreter is missing
        raise UserError(f"{hook}: cannot be run ({error.strerror}); is its first line #!/…?") from error
    if done.returncode:
        raise UserError(
            f"{hook}: failed with exit code {done.returncode}: {done.stderr.decode(errors='replace').strip()}"
        )
    kept = parse_text(done.stdout, f"output of {hook}")
    if len(kept) != len(texts):
        logger.warning("%s: %d utterances in, %d out", hook, len(texts), len(kept))
    return kept


def wer_report(errors: Errors, missing: int) -> str:
    """compute-wer's three lines; `missing` hypotheses are counted as empty (its mode `all`)."""
    partial = " [PARTIAL]" if missing else ""
    return (
        f"%WER {percent(errors.total, errors.words):.2f} [ {errors.total} / {errors.words}, "
        f"{errors.insertions} ins, {errors.deletions} del, {errors.substitutions} sub ]{partial}\n"
        f"%SER {percent(errors.wrong, errors.utterances):.2f} [ {errors.wrong} / {errors.utterances} ]\n"
        f"Scored {errors.utterances} sentences, {missing} not present in hyp.\n"
    )


def percent(part: int, whole: int) -> float:
    """In single precision as compute-wer has it, which decides how a half is rounded; nan of nothing."""
    return float(np.float32(100.0 * float(np.float32(part)) / float(np.float32(whole)))) if whole else np.nan


def best_wer(report: str, file: str) -> str:
    """What utils/best_wer.sh makes of `grep WER` over the one `wer_1_0.0`."""
    return f"{report.splitlines()[0]} {file}\n"


def per_utt(aligned: Mapping[str, list[Pair]]) -> str:
    """wer_per_utt_details.pl: four lines an utterance, columns centred, the wider margin on the left."""
    return "".join(per_utt_lines(utterance, pairs) for utterance, pairs in aligned.items())


def per_utt_lines(utterance: str, pairs: list[Pair]) -> str:
    operations = [operation(pair) for pair in pairs]
    columns = [(r or GAP, h or GAP, op) for (r, h), op in zip(pairs, operations, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    reference, hypothesis, ops = (
        "  ".join(centre(column[row], width) for column, width in zip(columns, widths, strict=True))
        for row in range(3)
    )
    counts = " ".join(str(operations.count(op)) for op in "CSID")
    return (
        f"{utterance} ref  {reference}\n"
        f"{utterance} hyp  {hypothesis}\n"
        f"{utterance} op   {ops}\n"
        f"{utterance} #csid {counts}\n"
    )


def centre(word: str, width: int) -> str:
    right = (width - len(word)) // 2
    return " " * (width - len(word) - right) + word + " " * right


def per_spk(aligned: Mapping[str, list[Pair]], utt2spk: Mapping[str, str]) -> str:
    """wer_per_spk_details.pl: a raw row and a row of percentages for each speaker, then their sum."""
    width = max(15, *map(len, utt2spk.values()), 0)
    speakers: dict[str, Counter] = {}
    for utterance, pairs in aligned.items():
        operations = Counter(map(operation, pairs))
        operations["sentences"] = 1
        operations["wrong"] = int(any(operations[op] for op in "SID"))
        speakers.setdefault(utt2spk[utterance], Counter()).update(operations)
    total: Counter = Counter()
    for operations in speakers.values():
        total.update(operations)
    heads = ["#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err"]
    header = f"{'SPEAKER':<{width}} id " + "".join(f" {head:>10}" for head in heads) + "\n"
    rows = [*((name, speakers[name]) for name in sorted(speakers)), ("SUM", total)]
    return header + "".join(per_spk_rows(name, operations, width) for name, operations in rows)


def per_spk_rows(name: str, counts: Counter, width: int) -> str:
    c, s, i, d = (counts[op] for op in "CSID")
    sentences, wrong, words = counts["sentences"], counts["wrong"], c + s + d
    raw = [sentences, words, c, s, i, d, s + d + i, wrong]
    rows = f"{name:<{width}} raw" + "".join(f" {value:>10d}" for value in raw) + "\n"
    if words:  # Kaldi prints no percentages of nothing
        rates = [100 * value / words for value in (c, s, i, d, s + d + i)] + [100 * wrong / sentences]
        rows += f"{name:<{width}} sys {sentences:>10d} {words:>10d}"
        rows += "".join(f" {rate:>10.2f}" for rate in rates) + "\n"
    return rows


def ops(aligned: Mapping[str, list[Pair]]) -> str:
    """wer_ops_details.pl | sort -b -i -k 1,1 -k 4,4rn -k 2,2 -k 3,3 (under LC_ALL=C): how often each pair."""
    counts = Counter(pair for pairs in aligned.values() for pair in pairs)
    if not counts:
        return ""
    words = min(16, max(len(word or GAP) for pair in counts for word in pair))
    digits = max(len(str(times)) for times in counts.values())
    rows = []
    for pair, times in counts.items():
        kind, reference, hypothesis = ARCHITECTURES[operation(pair)], pair[0] or GAP, pair[1] or GAP
        line = f"{kind:<12}  {reference:>{words}}    {hypothesis:>{words}}    {times:>{digits}d}\n"
        rows.append((kind, -times, printable(reference), printable(hypothesis), line.encode()))
    return b"".join(row[-1] for row in sorted(rows)).decode()


def printable(word: str) -> bytes:
    """What `sort -i` compares: in the C locale no byte outside ASCII."""
    return bytes(byte for byte in word.encode() if 0x20 <= byte < 0x7F)


def trn(utterances: Iterable[tuple[str, str, str]]) -> str:
    """sclite's format from (utterance id, speaker, text): `words (speaker-utterance)` a line."""
    return "".join(
        f"{text} ({speaker}-{utterance})".lstrip() + "\n" for utterance, speaker, text in utterances
    )
