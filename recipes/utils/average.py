#!/usr/bin/env python3
"""The mean of what several seeds have learnt, as an adapter of its own.

    average.py exp/speechocean762 ia3 3 --base mini

In: EXP/SYSTEM_seed1 … with adapter/ and train.json. Out: EXP/SYSTEM_average/adapter, and a train.json that
says what all of them took. Weights of models that were fine-tuned from one start can be averaged, and often
err less than each alone: Wortsman et al. 2022, "Model soups", arXiv 2203.05482.
"""

from pathlib import Path

from exp_folder import load_system

from ia3_speech.adapters.expressions import Term
from ia3_speech.adapters.load import save_terms
from ia3_speech.atomic import write_json
from ia3_speech.cli import command


def average(exp: Path, system: str, seeds: int, base: str | None = None) -> None:
    """Write EXP/SYSTEM_average/{adapter,train.json}.

    Args:
        exp: folder of one corpus
        system: the system's name
        seeds: how many seeds were trained, from 1
        base: mini, a folder or a hub id (default: the base that the adapters record)
    """
    trained = [load_system(exp / f"{system}_seed{seed}") for seed in range(1, seeds + 1)]
    terms = [Term(one.folder.name, one.folder / "adapter", 1 / seeds) for one in trained]
    out = exp / f"{system}_average"
    save_terms(terms, out / "adapter", base=base)
    summary = {
        "average_of": trained[0].marker().get("key"),  # of their inputs, which are the same for all seeds
        "trainable": trained[0].train["trainable"],
        "seconds": sum(one.train["seconds"] for one in trained),
    }
    write_json(out / "train.json", summary)
    print(f"{out}/adapter: the mean of {seeds} seeds")


if __name__ == "__main__":
    command(average)
