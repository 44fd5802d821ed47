#!/usr/bin/env python3
"""Speaker identification chooses the adapter, on people who are in no training.

1  how often `auto` recognises who speaks (identify.py)                exp/NAME/identify
2  the recipe speaker_adaptation: an adapter for each fold of a person, its stages 1 to 5
3  what it gains that `auto` recognises them (who.py)                  exp/NAME/who
"""

from dataclasses import dataclass
from pathlib import Path

from stages import SHIPPED, CorpusOptions, DecodingOptions, Study, located

from ia3_speech.cli import command
from ia3_speech.training.config import replay_folder

CORPUS, ENROLLED = "speechocean762", 15


@dataclass(frozen=True, kw_only=True)
class Options(DecodingOptions, CorpusOptions):
    """Options of the study."""

    background: str = str(replay_folder("shipped"))
    """folders with speech of many people, 'DIR DIR', of whom the background is made (default: the 28 readers
    whom the package ships)"""
    noises: Path | None = None
    """folder of noises, for speech in noise (default: none is measured)"""
    general: Path = SHIPPED
    """speech of other people, who are unknown speakers (default: the package's)"""


def main(options: Options) -> None:
    """Measure how often `auto` recognises who speaks, and what that gains."""
    study, here = Study(__file__, CORPUS, options), Path(__file__).parent
    corpus = options.corpus.absolute()
    if study.runs(1):
        words = ["python", here / "identify.py", "--corpus", corpus, "--general", options.general.absolute()]
        words += ["--background", " ".join(map(located, options.background.split()))]
        words += ["--noises", options.noises.absolute()] if options.noises else []
        study.command([*words, "--out", study.exp / "identify", "--size", options.size])
    if study.runs(2):
        study.recipe(
            "speaker_adaptation", corpus, 5, corpus_name=CORPUS, k=ENROLLED, out_of_domain="none", stage=1
        )
    if study.runs(3):
        data, exp = study.of_recipe("speaker_adaptation", CORPUS)
        words = ["python", here / "who.py", "--data", data / "test", "--out", study.exp / "who"]
        study.command([*words, "--adapters", exp / f"from_base_k{ENROLLED}_seed1"])


if __name__ == "__main__":
    command(main)
