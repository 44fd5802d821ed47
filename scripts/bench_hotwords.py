"""Measure hot words: term recall, false insertions, WER and time, greedy and with a language model.

    python scripts/bench_hotwords.py --out scripts/bench_hotwords.md

In: the corpora whose recipes list terms, read_english/dev as out-of-domain speech, ICD-10-CM's wording. The
hot words of a corpus are the terms of its test set; `with others` adds as many of ICD-10-CM as make 1,000.
Heard-as forms are learned on the corpus's train and dev from greedy search, with read_english/train's texts
as ordinary text; test is only searched. The logits of each set are computed once.
"""

import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import ceil
from pathlib import Path
from statistics import mean, median

import numpy as np
from benchmark import ROOT, Page, log, rounds

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.text import normalize
from ia3_speech.decoding.decode_directory import decode_utterances, dev_logits
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.lm.hotword_learning import learn_forms
from ia3_speech.lm.hotword_search import HOTWORD_WEIGHT, Hotword, HotwordSearch
from ia3_speech.model.hypotheses import Search
from ia3_speech.scoring.alignment import align, count_errors
from ia3_speech.scoring.table import markdown_table
from ia3_speech.scoring.term_errors import FALSE, MISSED, REFERENCE, count_terms, make_term_list
from ia3_speech.search import SearchOptions, make_search
from ia3_speech.session import load

JOINTS = re.compile(r"[,;:()\[\]]| (?:with|without|due to|in|and|or|of) ")
OTHERS = 1000  # terms of a list with others, and of the list that is timed
WEIGHTS = (0.5, 1.0, 1.5, 2.0)  # of `--hotword-weight`
LISTS = 3  # of each length, on out-of-domain speech
TIMED_EVERY = 5  # utterances of out-of-domain speech
TIMED_ROUNDS = 3
# Recipe → corpus in ../shared/data.
CORPORA = {"medical_dictation": "medical_notes", "barista_orders": "barista_orders", "minds14": "minds14"}


@dataclass(frozen=True)
class Set:
    """References and logits of a set."""

    references: list[list[str]]  # normalised words of each utterance
    logits: list[list[np.ndarray]]  # the pieces of each utterance, (frames, vocabulary)
    hours: float  # of audio

    def texts(self, search: Search) -> list[list[str]]:
        """The normalised words of each utterance."""
        texts = [[search(piece.astype("float32")).text for piece in pieces] for pieces in self.logits]
        return [normalize(" ".join(text)).split() for text in texts]

    def errors(self, search: Search, terms: Sequence[str]) -> tuple[int, float, np.ndarray]:
        """Word errors, WER in percent, and the counts of terms: REFERENCE, MISSED, FALSE."""
        listed = make_term_list({normalize(term): () for term in terms})
        errors, counts = 0, np.zeros(3, np.int64)
        for reference, words in zip(self.references, self.texts(search), strict=True):
            errors += count_errors(reference, words).total
            counts += count_terms(align(reference, words), listed)[0]
        return errors, 100 * errors / sum(map(len, self.references)), counts


def main(
    *, page: Page, base: str = "mini", data: Path = ROOT.parent / "shared/data",
    work: Path = ROOT / "exp/bench_hotwords", minutes: float = 13.0, train_minutes: float = 25.0,
) -> None:  # fmt: skip
    """Measure and write the tables.

    Args:
        base: a base with a vocabulary of English letters
        data: folder of the corpora
        work: keeps the prepared corpora
        minutes: of each test set, at most; of a longer set every second, third … utterance is taken
        train_minutes: the same of the sets on which heard-as forms are learned
    """
    recognizer = load(
        base, precision="auto", search=SearchOptions("greedy"), options=LoadOptions(vad="off")
    ).recognizer
    bench = Bench(recognizer, data, work)
    parts = [bench.out_of_domain(minutes)]
    for recipe, name in CORPORA.items():
        if (data / name).is_dir():
            parts.append(bench.corpus(recipe, name, minutes, train_minutes))
        else:
            log(f"left out: {name} (the corpus is missing)")
    page.write(
        "Hot words",
        f"base {base} ({recognizer.base.fingerprint['sha256'][:12]}). The default weight is "
        f"{HOTWORD_WEIGHT:g}. Recall: the share of the references' terms that are recognised in full; false: "
        "terms in the hypotheses that were not spoken, per hour. The terms are those of the recipe's list "
        "that occur in the references of test; a list that is written without test has more terms that are "
        "never spoken (`with others`).",
        *parts,
        bench.time(),
    )


class Bench:
    """The base and its searches, which all tables share."""

    def __init__(self, recognizer: Recognizer, data: Path, work: Path):
        self.recognizer, self.data, self.work = recognizer, data, work
        with_lm = (Path(recognizer.base.model.config.name_or_path) / "lm.arpa.gz").is_file()
        kinds = ("greedy", *["beam"] * with_lm)
        self.searches = {kind: make_search(SearchOptions(kind), recognizer.base)[0] for kind in kinds}
        self.others = icd_terms()
        self.mixed_in = [Hotword(term) for term in random.Random(0).sample(self.others, OTHERS)]

    def search(self, kind: str, terms: Sequence[Hotword] = (), weight: float = HOTWORD_WEIGHT) -> Search:
        """Greedy or beam search, with hot words if there are any; all share one language model."""
        search = self.searches[kind]
        return HotwordSearch(terms, weight, self.recognizer.base.vocabulary, search) if terms else search

    def read(self, name: str, data: Path, minutes: float) -> Set:
        """Every k-th utterance of a set, at most this many minutes, with the logits."""
        utterances = read_data_directory(data, spk_sort=False).utterances
        every = ceil(sum(utterance.duration for utterance in utterances) / 60 / minutes)
        part = self.work / f"{name}-{minutes:g}-minutes"
        write_data_directory(part, utterances[::every])
        references, logits = dev_logits(self.recognizer, part)
        frames = sum(len(piece) for pieces in logits.values() for piece in pieces)
        hours = frames * self.recognizer.base.stride / SAMPLE_RATE / 3600
        return Set([*references.values()], [*logits.values()], hours)

    def corpus(self, recipe: str, name: str, minutes: float, train_minutes: float) -> str:
        """The table of a corpus."""
        local, source, prepared = ROOT / "egs" / recipe / "local", self.data / name, self.work / name
        if not (source / "test").is_dir():
            if not (prepared / "test").is_dir():
                run_script(local / "prepare.py", source, prepared)
            source = prepared
        file = self.work / f"{name}.terms"
        run_script(local / "terms.py", source / "test", file, "--train", source / "train")
        terms = [line.split("\t")[0] for line in file.read_text("utf-8").splitlines()]
        plain = [Hotword(term) for term in terms]
        learned = self.learn(name, source, plain, train_minutes)
        others = [term for term in self.mixed_in[: OTHERS - len(plain)] if term.text not in terms]
        test = self.read(f"{name}-test", source / "test", minutes)
        runs = [("none", [], None), *(("terms", plain, weight) for weight in WEIGHTS)]
        runs += [("terms, heard-as", learned, HOTWORD_WEIGHT)]
        runs += [("with others", plain + others, HOTWORD_WEIGHT)]
        rows = []
        for kind, (label, hotwords, weight) in product(self.searches, runs):
            _, wer, counts = test.errors(self.search(kind, hotwords, weight), terms)
            recall = 100 * (1 - counts[MISSED] / counts[REFERENCE]) if counts[REFERENCE] else np.nan
            row = [kind, label, weight and f"{weight:g}", f"{recall:.1f}"]
            rows.append([*row, f"{counts[FALSE] / test.hours:.1f}", f"{wer:.1f}"])
            log(f"{rows[-1]}")
        forms = sum(len(term.heard_as) for term in learned)
        return (
            f"## {name}\n\n{len(test.references)} utterances of test, {60 * test.hours:.0f} minutes; "
            f"{len(terms)} terms; {forms} heard-as forms, learned on train and dev.\n\n"
            + markdown_table(["search", "hot words", "weight", "recall %", "false / h", "WER %"], rows)
        )

    def learn(self, name: str, source: Path, terms: list[Hotword], minutes: float) -> list[Hotword]:
        """The terms with heard-as forms of train and dev."""
        pairs = []
        for side in ("train", "dev"):
            if (source / side).is_dir():
                part = self.read(f"{name}-{side}", source / side, minutes)
                pairs += zip(part.references, part.texts(self.search("greedy")), strict=True)
        ordinary = read_data_directory(self.data / "read_english/train", wav=False, spk_sort=False)
        return learn_forms(terms, pairs, text=(normalize(each.text or "").split() for each in ordinary)).terms

    def out_of_domain(self, minutes: float) -> str:
        """The table of lists of unspoken terms: the word errors that they add."""
        general = self.read("general", self.data / "read_english/dev", minutes)
        spoken = f" {' | '.join(' '.join(words) for words in general.references)} "
        unspoken = [term for term in self.others if f" {term} " not in spoken]
        rows = []
        for kind, count in product(self.searches, (0, 100, OTHERS)):
            lists = [random.Random(count + n).sample(unspoken, count) for n in range(LISTS if count else 1)]
            for weight in WEIGHTS if count else (0.0,):
                searches = [self.search(kind, [*map(Hotword, terms)], weight) for terms in lists]
                errors, wers, counts = zip(*map(general.errors, searches, lists), strict=True)
                false = mean(each[FALSE] / general.hours for each in counts)
                cells = [kind, count, f"{weight:g}", f"{false:.1f}", f"{mean(errors):.1f}"]
                rows.append([*cells, ", ".join(map(str, errors)), f"{mean(wers):.2f}"])
                log(f"{rows[-1]}")
        head = ["search", "terms", "weight", "false / h", "word errors", "of each list", "WER %"]
        return (
            f"## Out-of-domain speech\n\nread_english/dev, {len(general.references)} utterances; {LISTS} "
            "lists of ICD-10-CM's terms that are not spoken there, drawn at random, and their mean.\n\n"
            + markdown_table(head, rows)
        )

    def time(self) -> str:
        """The cost of 1,000 terms and of the beam, in processor time, when utterances are transcribed."""
        data = self.data / "read_english/dev"
        utterances = read_data_directory(data, spk_sort=False).utterances[::TIMED_EVERY]
        searches = {}
        for kind in self.searches:
            searches[f"{kind} search"] = self.search(kind)
            searches[f"{kind} search with {OTHERS:,} terms"] = self.search(kind, self.mixed_in)
        recognizers = {name: replace(self.recognizer, search=search) for name, search in searches.items()}
        runs = {name: partial(decode_utterances, each, utterances) for name, each in recognizers.items()}
        times = rounds(runs, TIMED_ROUNDS, clock=time.process_time)
        greedy, seconds_of_audio = median(times["greedy search"]), sum(u.duration for u in utterances)
        rows = []
        for name, seconds in times.items():
            more = f"{100 * (median(seconds) / greedy - 1):+.1f}"
            rows.append([name, f"{median(seconds):.2f}", more])
        return (
            f"## Time\n\n{seconds_of_audio:.0f} seconds of read_english/dev, --precision auto, "
            f"processor time, median of {TIMED_ROUNDS} rounds.\n\n"
            + markdown_table(["search", "seconds", "% more than greedy search"], rows)
        )


def run_script(script: Path, *words: object) -> None:
    """Run a recipe's script, which imports from its own folder and the repository."""
    line = [sys.executable, str(script), *map(str, words)]
    subprocess.run(line, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=sys.stderr)


def icd_terms() -> list[str]:
    """Words and phrases of ICD-10-CM's descriptions (public domain), of letters only, sorted."""
    import simple_icd_10_cm as icd

    parts: set[str] = set()
    for code in icd.get_all_codes():
        for part in JOINTS.split(icd.get_description(code)):
            words = normalize(part).split()
            if 1 <= len(words) <= 3 and re.fullmatch("[a-z ]{5,}", " ".join(words)):
                parts.add(" ".join(words))
    return sorted(parts)


if __name__ == "__main__":
    command(main)
