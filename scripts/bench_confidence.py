"""Compare measures of word confidence: which tells wrong words from right ones best, on a dev set.

    python scripts/bench_confidence.py ../shared/data/read_english/dev
    python scripts/bench_confidence.py ../shared/data/english_mix --every 40
    python scripts/bench_confidence.py ../shared/data/read_english/dev --search beam

In: a data directory with text that no result is reported on, and a base. Out: a table. The words of a
hypothesis are aligned with its logits as `word_times` does it; each measure then makes one number of a word's
posterior probabilities, from its first symbol's frame to its last one's. The two columns of each temperature
are the area under the ROC curve, with a 95 % interval (bootstrap over utterances), and the share of all
errors that the least certain 10 % of the words hold. The entropies are those of Laptev and Ginsburg 2022
(arXiv 2212.08703).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ia3_speech.cli import command
from ia3_speech.confidence.reliability import area_under_roc, share_found
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.text import normalize, required_frames
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.decoding.word_times import forced_path, spans, spell_as_recognized
from ia3_speech.formatting import interval, percent
from ia3_speech.loading import load
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.significance import percentile_interval
from ia3_speech.search import SearchOptions

if TYPE_CHECKING:
    from torch import Tensor

TSALLIS = 1 / 3  # the order that the paper recommends
REPLICATES = 1000


@dataclass(frozen=True)
class Evidence:
    """What the logits say of a word of a hypothesis.

    Attributes:
        frames: (frames, vocabulary) posterior probabilities of its frames.
        blank: the blank's column.
        path: (frames,) log-probabilities of the best path's symbols in them.
        peaks: log-probabilities of its own symbols where each is highest.
        sides: the same of the delimiters beside it.
    """

    frames: np.ndarray
    blank: int
    path: np.ndarray
    peaks: np.ndarray
    sides: np.ndarray

    @property
    def spoken(self) -> np.ndarray:
        """Its frames whose best symbol is not the blank; all of them where there is none."""
        found = self.frames[self.frames.argmax(-1) != self.blank]
        return found if len(found) else self.frames


def gibbs(frames: np.ndarray) -> np.ndarray:
    """1 − entropy over its maximum, of each frame."""
    return 1 + (frames * np.log(np.maximum(frames, 1e-30))).sum(-1) / np.log(frames.shape[-1])


def tsallis(frames: np.ndarray) -> np.ndarray:
    """Tsallis entropy of order 1/3, of each frame, normalised exponentially to 0 … 1."""
    entropy = ((frames**TSALLIS).sum(-1) - 1) / (1 - TSALLIS)
    most = np.exp(-(frames.shape[-1] ** (1 - TSALLIS) - 1) / (1 - TSALLIS))
    return (np.exp(-entropy) - most) / (1 - most)


def log_product(values: np.ndarray) -> float:
    return float(np.log(np.maximum(values, 1e-30)).sum())


MEASURES: dict[str, Callable[[Evidence], float]] = {
    "product of peaks, with delimiters (word_times)": lambda one: one.peaks.sum() + one.sides.sum(),
    "product of peaks": lambda one: one.peaks.sum(),
    "geometric mean of peaks, with delimiters": lambda one: np.mean([*one.peaks, *one.sides]),
    "lowest peak, with delimiters": lambda one: np.min([*one.peaks, *one.sides]),
    "frame maximum, mean": lambda one: one.frames.max(-1).mean(),
    "frame maximum, lowest": lambda one: one.frames.max(-1).min(),
    "frame maximum, product": lambda one: log_product(one.frames.max(-1)),
    "frame maximum, product, no blanks": lambda one: log_product(one.spoken.max(-1)),
    "Gibbs entropy, mean, no blanks": lambda one: gibbs(one.spoken).mean(),
    "Gibbs entropy, lowest": lambda one: gibbs(one.frames).min(),
    "Tsallis entropy, mean, no blanks": lambda one: tsallis(one.spoken).mean(),
    "Tsallis entropy, lowest": lambda one: tsallis(one.frames).min(),
    "Tsallis entropy, product, no blanks": lambda one: log_product(tsallis(one.spoken)),
    "CTC path score": lambda one: one.path.sum(),
    "CTC path score, a frame": lambda one: one.path.mean(),
}


def main(
    data: Path,
    every: int = 1,
    base: str = "mini",
    search: Literal["greedy", "beam"] = "greedy",
    temperatures: list[float] = [1.0, 2.0],  # noqa: B006  (not changed)
) -> None:
    """Print a table.

    Args:
        data: a Kaldi data directory with text
        every: take each n-th of its sorted utterances
        base: mini, a folder or a hub id
        search: greedy, or beam with the base's language model
        temperatures: that divide the logits
    """
    recognizer = load(base, search=SearchOptions(search), vad="off").recognizer
    utterances = read_data_directory(data, spk_sort=False).utterances[::every]
    heard = [recognizer.logits([load_utterance(one)])[0] for one in utterances]
    texts = [recognizer.search(logits).text for logits in heard]
    pairs = [
        (normalize(one.text or "").split(), text.split()) for one, text in zip(utterances, texts, strict=True)
    ]
    right = [[said == word for said, word in align(*pair) if word] for pair in pairs]
    owner = np.repeat(np.arange(len(right)), [*map(len, right)])
    judged = np.array([one for words in right for one in words])
    scores = {
        (temperature, name): values
        for temperature in temperatures
        for name, values in measured(recognizer, heard, texts, temperature).items()
    }
    print(
        f"{data.parent.name}/{data.name}, {len(utterances)} utterances, {search} search: "
        f"{len(judged):,} words, {(~judged).sum():,} of them wrong ({percent((~judged).mean())} %)\n"
    )
    print("| measure |" + "".join(f" area, T = {one:g} | errors found |" for one in temperatures))
    print("|---|" + 2 * len(temperatures) * "---:|")
    for name in MEASURES:
        print(f"| {name} |" + "".join(cells(scores[one, name], judged, owner) for one in temperatures))


def measured(
    recognizer: Recognizer, heard: "list[Tensor]", texts: list[str], temperature: float
) -> dict[str, np.ndarray]:
    """Name of each measure → its value of each word, (words,); the lowest where there is no evidence."""
    pairs = zip(heard, texts, strict=True)
    found = [one for pair in pairs for one in evidence(recognizer, *pair, temperature)]
    return {
        name: np.array([-np.inf if one is None else float(measure(one)) for one in found])
        for name, measure in MEASURES.items()
    }


def evidence(
    recognizer: Recognizer, logits: "Tensor", text: str, temperature: float
) -> Iterator[Evidence | None]:
    """Of each word of `text` what the logits say; None for words that the base cannot write."""
    vocabulary, words = recognizer.base.vocabulary, text.split()
    symbols = spell_as_recognized(logits, words, vocabulary)
    tokens, owners = [token for token, _ in symbols], [owner for _, owner in symbols]
    if not tokens or required_frames(tokens) > len(logits):
        yield from len(words) * [None]
        return
    logs = (logits.float() / temperature).log_softmax(-1).numpy()
    firsts, lasts = np.array(spans(forced_path(logs, tokens, vocabulary.blank), vocabulary.blank)).T
    path, peaks = logs[:, vocabulary.blank].copy(), np.zeros(len(tokens))
    for at, (token, first, last) in enumerate(zip(tokens, firsts, lasts, strict=True)):
        path[first : last + 1] = logs[first : last + 1, token]
        peaks[at] = logs[first : last + 1, token].max()
    for number in range(len(words)):
        own = [at for at, owner in enumerate(owners) if owner == number]
        if not own:
            yield None
            continue
        sides = [at for at in (own[0] - 1, own[-1] + 1) if 0 <= at < len(owners) and owners[at] == -1]
        span = slice(firsts[own[0]], lasts[own[-1]] + 1)
        yield Evidence(np.exp(logs[span]), vocabulary.blank, path[span], peaks[own], peaks[sides])


def cells(scores: np.ndarray, right: np.ndarray, owner: np.ndarray) -> str:
    """The area with its interval, and the share of the errors that is found."""
    rng, places = np.random.default_rng(0), [np.flatnonzero(owner == one) for one in range(owner.max() + 1)]
    areas = []
    for _ in range(REPLICATES):
        drawn = np.concatenate([places[one] for one in rng.integers(0, len(places), len(places))])
        areas.append(area_under_roc(scores[drawn], right[drawn]))
    area, found = area_under_roc(scores, right), share_found(scores, right)
    return f" {percent(area)} {interval(percentile_interval(np.array(areas)))} | {percent(found, 0)} % |"


if __name__ == "__main__":
    command(main)
