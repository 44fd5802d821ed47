#!/usr/bin/env python3
"""MInDS-14, calls to a bank, as Kaldi data directories (README.md has the corpus card).

    local/prepare.py CORPUS OUT_DIR [--size full|small]

In: CORPUS/{train,test} and perhaps CORPUS/dev, Kaldi data directories with utt2accent and utt2intent; or
CORPUS/{en-AU,en-GB,en-US}, as `ia3-speech datadir from-dataset` writes them. Out: OUT_DIR/{train,dev,test}.
"""

from dataclasses import replace
from pathlib import Path

from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora import kaldi
from ia3_speech.data.corpora.preparation import Size, divide, write_set
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import Utterance

ACCENTS = ("en-AU", "en-GB", "en-US")
# The hub's numbers of the intents, in the publisher's order.
INTENTS = (
    *("abroad", "address", "app_error", "atm_limit", "balance", "business_loan", "card_issues"),
    *("cash_deposit", "direct_debit", "freeze", "high_value_payment", "joint_account"),
    *("latest_transactions", "pay_bill"),
)
MAX_SECONDS = 15.0  # the maximum input of the mini base; longer calls are left out of train, dev and test


def main(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a folder with train and test, or with a data directory a country
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: wav.scp may hold shell commands; none is run here
    """
    countries = [accent for accent in ACCENTS if (corpus / accent / "wav.scp").is_file()]
    if kaldi.is_kaldi(corpus):
        kaldi.prepare(corpus, out, size, allow_pipes)
    elif countries:
        calls = [call for accent in countries for call in calls_of(corpus / accent, accent, allow_pipes)]
        for name, chosen in divide(calls, speakers_known=False).items():
            write_set(out / name, chosen, size)
    else:
        layouts = f"neither train/ and test/ nor {', '.join(ACCENTS)}, as Kaldi data directories"
        raise UserError(f"{corpus}: {layouts} (run.sh without --corpus says where they come from)")


def calls_of(data: Path, accent: str, allow_pipes: bool) -> list[Utterance]:
    """The calls of a country, with the country in their names, and the labels accent and intent (a name, not
    the hub's number). Long calls are counted and left out."""
    calls, short = list(read_data_directory(data, allow_pipes=allow_pipes)), []
    for call in [call for call in calls if (call.duration or 0.0) <= MAX_SECONDS]:
        intent = call.labels.get("intent_class") or call.labels.get("intent") or ""
        intent = INTENTS[int(intent)] if intent.isdecimal() else intent
        changed = {field: f"{accent}-{getattr(call, field)}" for field in ("id", "speaker", "recording")}
        changed["labels"] = {"accent": accent} | ({"intent": intent} if intent else {})
        short.append(replace(call, **changed))
    print(f"{data}: {len(short)} of {len(calls)} calls, of at most {MAX_SECONDS:g} s")
    return short


if __name__ == "__main__":
    command(main)
