"""Compare measures of word confidence on a dev set: which separates wrong from right words best?

    python scripts/bench_confidence.py ../shared/data/read_english/dev
    python scripts/bench_confidence.py ../shared/data/english_mix --every 40 --search beam

Each measure makes one number of a word's posterior probabilities, from the frame of its first symbol to that
of its last symbol. The two columns of each temperature are the area under the ROC curve, with a 95 % interval
(bootstrap over utterances), and the share of all errors among the 10 % of the words with the lowest
confidence. The entropies are those of Laptev and Ginsburg 2022 (arXiv 2212.08703).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from benchmark import Page
from torchaudio.functional import forced_align, merge_tokens

from ia3_speech.cli import command
from ia3_speech.confidence.reliability import area_under_roc, share_found
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.text import Vocabulary, normalize, required_frames
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.options import LoadOptions
from ia3_speech.decoding.word_times import spell_as_recognized
from ia3_speech.formatting import percent
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.significance import percentile_interval
from ia3_speech.scoring.table import Cell, Rate, markdown_table
from ia3_speech.search import SearchOptions
from ia3_speech.session import load

SearchName = Literal["greedy", "beam"]
TSALLIS = 1 / 3  # the order that the paper recommends
REPLICATES = 1000
TEMPERATURES = (1.0, 2.0)  # divide the logits


@dataclass(frozen=True)
class Evidence:
    """The logits of a hypothesis's word."""

    frames: np.ndarray  # (frames, vocabulary) posterior probabilities of its frames
    blank: int  # the blank's column
    path: np.ndarray  # (frames,) log-probabilities of the best path's symbols in these frames
    peaks: np.ndarray  # log-probability of each of its symbols, where it is highest
    sides: np.ndarray  # the same of the delimiters beside the word

    @property
    def spoken(self) -> np.ndarray:
        """The frames whose best symbol is not the blank; all frames where there are none."""
        spoken = self.frames[self.frames.argmax(-1) != self.blank]
        return spoken if len(spoken) else self.frames


def gibbs(frames: np.ndarray) -> np.ndarray:
    """1 − entropy / maximum entropy of each frame."""
    return 1 + (frames * np.log(np.maximum(frames, 1e-30))).sum(-1) / np.log(frames.shape[-1])


def tsallis(frames: np.ndarray) -> np.ndarray:
    """Tsallis entropy of order 1/3 of each frame, normalised exponentially to 0 … 1."""
    entropy = ((frames**TSALLIS).sum(-1) - 1) / (1 - TSALLIS)
    highest = np.exp(-(frames.shape[-1] ** (1 - TSALLIS) - 1) / (1 - TSALLIS))
    return (np.exp(-entropy) - highest) / (1 - highest)


def log_product(values: np.ndarray) -> float:
    return float(np.log(np.maximum(values, 1e-30)).sum())


MEASURES: dict[str, Callable[[Evidence], float]] = {
    "product of peaks, with delimiters (word_times)": lambda word: word.peaks.sum() + word.sides.sum(),
    "product of peaks": lambda word: word.peaks.sum(),
    "geometric mean of peaks, with delimiters": lambda word: np.mean([*word.peaks, *word.sides]),
    "lowest peak, with delimiters": lambda word: np.min([*word.peaks, *word.sides]),
    "frame maximum, mean": lambda word: word.frames.max(-1).mean(),
    "frame maximum, lowest": lambda word: word.frames.max(-1).min(),
    "frame maximum, product": lambda word: log_product(word.frames.max(-1)),
    "frame maximum, product, no blanks": lambda word: log_product(word.spoken.max(-1)),
    "Gibbs entropy, mean, no blanks": lambda word: gibbs(word.spoken).mean(),
    "Gibbs entropy, lowest": lambda word: gibbs(word.frames).min(),
    "Tsallis entropy, mean, no blanks": lambda word: tsallis(word.spoken).mean(),
    "Tsallis entropy, lowest": lambda word: tsallis(word.frames).min(),
    "Tsallis entropy, product, no blanks": lambda word: log_product(tsallis(word.spoken)),
    "CTC path score": lambda word: word.path.sum(),
    "CTC path score, a frame": lambda word: word.path.mean(),
}


def main(
    data: Path, *, page: Page, every: int = 1, base: str = "mini", search: SearchName = "greedy"
) -> None:
    """Measure and write the table.

    Args:
        data: a Kaldi data directory with text
        every: take each n-th of its sorted utterances
        base: mini, a folder or a hub id
        search: greedy, or beam with the base's language model
    """
    recognizer = load(base, search=SearchOptions(search), options=LoadOptions(vad="off")).recognizer
    utterances = read_data_directory(data, spk_sort=False).utterances[::every]
    logits = [recognizer.logits([load_utterance(utterance)])[0] for utterance in utterances]
    texts = [recognizer.search(each).text for each in logits]
    right, owners = [], []
    for number, (utterance, text) in enumerate(zip(utterances, texts, strict=True)):
        pairs = align(normalize(utterance.text or "").split(), text.split())
        right += [reference == word for reference, word in pairs if word]
        owners += [number] * len(text.split())
    correct, owner = np.array(right), np.array(owners)
    rows = [[name] for name in MEASURES]
    for temperature in TEMPERATURES:
        words = []
        for each, text in zip(logits, texts, strict=True):
            words += evidence(each, text, recognizer.base.vocabulary, temperature)
        for row, measure in zip(rows, MEASURES.values(), strict=True):
            # a word without evidence is the least certain
            row += cells(np.array([float(measure(w)) if w else -np.inf for w in words]), correct, owner)
    setup = (
        f"{data.parent.name}/{data.name}, {len(utterances)} utterances, {search} search: "
        f"{len(correct):,} words, {(~correct).sum():,} of them wrong ({percent((~correct).mean())} %)"
    )
    head = ["measure", *(name for t in TEMPERATURES for name in (f"area, T = {t:g}", "errors found"))]
    page.write("Measures of word confidence", setup, markdown_table(head, rows))


def evidence(
    logits: torch.Tensor, text: str, vocabulary: Vocabulary, temperature: float
) -> Iterator[Evidence | None]:
    """The evidence of each word of `text`; None for words that the base cannot write."""
    words = text.split()
    symbols = spell_as_recognized(logits, words, vocabulary)
    tokens, owners = [token for token, _ in symbols], np.array([owner for _, owner in symbols])
    if not tokens or required_frames(tokens) > len(logits):
        yield from len(words) * [None]
        return
    logs = (logits.float() / temperature).log_softmax(-1)
    labels, scores = forced_align(logs[None], torch.tensor([tokens]), blank=vocabulary.blank)
    spans = merge_tokens(labels[0], scores[0], vocabulary.blank)
    peaks = np.array([float(logs[span.start : span.end, span.token].max()) for span in spans])
    for number in range(len(words)):
        symbols_of_word = np.flatnonzero(owners == number)
        if not len(symbols_of_word):
            yield None
            continue
        first, last = symbols_of_word[[0, -1]]
        sides = [at for at in (first - 1, last + 1) if 0 <= at < len(owners) and owners[at] == -1]
        frames = slice(spans[first].start, spans[last].end)
        path = scores[0, frames].numpy()
        yield Evidence(
            logs[frames].exp().numpy(), vocabulary.blank, path, peaks[symbols_of_word], peaks[sides]
        )


def cells(confidences: np.ndarray, right: np.ndarray, owner: np.ndarray) -> list[Cell]:
    """The area with its interval, and the share of the errors among the least certain words."""
    rng = np.random.default_rng(0)
    words = [np.flatnonzero(owner == number) for number in range(owner.max() + 1)]
    areas = []
    for _ in range(REPLICATES):
        drawn = np.concatenate([words[number] for number in rng.integers(0, len(words), len(words))])
        areas.append(area_under_roc(confidences[drawn], right[drawn]))
    area = Rate(area_under_roc(confidences, right), percentile_interval(np.array(areas)))
    return [area, f"{percent(share_found(confidences, right), 0)} %"]


if __name__ == "__main__":
    command(main)
