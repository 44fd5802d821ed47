"""Official and written wording made speakable: ICD-10-CM descriptions, and numbers as words.

spoken("Type 2 diabetes mellitus")    # type two diabetes mellitus: a-z, apostrophe and single spaces
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

from ia3_speech.data.numbers_in_words import cardinal

# Parts of the classification's wording that a physician does not say
UNSAID = (
    r", (initial|subsequent) encounter.*",
    r", (current injury|level unspecified)",
    r", (site|organism|type) not specified",
    r",? not (elsewhere classified|specified as \w+|intractable.*)",
    r",? \w+ unspecified$",  # "part unspecified", "stage unspecified"
    r",? unspecified (organism|cause|trimester|as .*)",
    r"\bunspecified part of ",
    r"\bpart unspecified\b",
    r",? without .*",
    r"^other |,? ?\bunspecified\b|,? \buncomplicated\b|,? \bnos\b",
)


@cache
def number(value: float | str) -> str:
    """37.0 → "thirty seven", 1.25 → "one point two five", 09 → "nine"."""
    return cardinal(re.sub(r"^0+(?=\d)", "", str(value)).removesuffix(".0"))


def diagnoses() -> Iterator[str]:
    """ICD-10-CM's descriptions of diagnoses and symptoms, with the terms that they include."""
    import simple_icd_10_cm as icd

    for code in icd.get_all_codes():
        if re.match("[A-T]", code):  # V to Y are circumstances (boats, hotels), Z is administration
            yield from (icd.get_description(code), *icd.get_inclusion_term(code))


def spoken(written: str) -> str:
    """Written English → lower-case words: brackets and the unsaid left out, numbers read, accents dropped."""
    text = unicodedata.normalize("NFKD", written).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"\s*(\([^)]*\)|\[[^\]]*\])", "", text)
    for pattern in UNSAID:
        text = re.sub(pattern, "", text)
    text = re.sub(r"\bst\b", "s t", re.sub(r"\bii\b", "two", text))
    text = re.sub(r"\d+(\.\d+)?", lambda match: f" {number(match[0])} ", text)
    text = re.sub(r"[^a-z' ]", " ", text)
    return " ".join(text.split())


def with_articles(text: str) -> str:
    """Put "an" where the next word begins with a vowel sound ("a urinary" stays)."""
    vowel = r"(?=(?:[ai]|e(?!u)|o(?!ne\b)|u(?!ni|r[ieo]|s[ei]|t[ei])|[fhlmnrsx] |hour))"
    return re.sub(rf"\ba {vowel}", "an ", text)
