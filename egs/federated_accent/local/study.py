#!/usr/bin/env python3
"""Federated adaptation to an accent: 125 speakers, whose audio stays with them; IA³ vectors alone travel.

1  prepare one data directory for each client        3  measure what a server learns of a client
2  run the experiments, and central training         4  the tables
"""

from dataclasses import dataclass
from importlib.util import find_spec

from stages import CorpusOptions, Study, located

from ia3_speech.common.cli import command, pip_install
from ia3_speech.common.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Options of the study."""

    rounds: int = 30
    """number of rounds of each experiment"""
    only: str = ""
    """'NAME;NAME': run these experiments only"""


def main(options: Options) -> None:
    """Adapt to an accent by a federation of speakers."""
    study, base = Study(__file__, "speechocean762", options), located(options.base)
    if not find_spec("flwr"):
        raise UserError(f"flwr is missing (in the clone: {pip_install('.[federated,methods]')})")
    from experiments import EXPERIMENTS, identify, prepare, run, tables

    wanted = [name.strip() for name in options.only.split(";") if name.strip()]
    if unknown := sorted({*wanted} - EXPERIMENTS.keys()):
        raise UserError(f"`only`: there is no {unknown[0]!r} (there are {'; '.join(EXPERIMENTS)})")
    if study.runs(1):
        study.once("stage 1, prepare clients", study.data, [options.corpus], prepare,
                   corpus=options.corpus, size=options.size)  # fmt: skip
    if study.runs(2):
        for seed in range(1, options.seeds + 1):
            run(study.data, study.exp, base, options.rounds, seed, wanted, options.size)
    if study.runs(3) and not (study.exp / "identify.json").is_file():
        identify(study.data, study.exp, base, options.size)
    if study.runs(4):
        study.write_results([*tables(study.exp)], {})


if __name__ == "__main__":
    command(main)
