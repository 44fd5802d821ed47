"""The sentences that the publisher's grammar has for one order.

    ordered = order({"size": "small", "coffeeDrink": "latte", "milkAmount": " soy milk"})
    sentences(ordered)    # "brew a small latte with soy milk", "can i get a small latte with soy milk", …

In: the slots of an order, as label.json has them. Out: every sentence in lower case. The grammar is that of
Picovoice's coffee maker: a lead-in, an article, size, roast and shots in any order, the drink, "with" milk
and sugar in either order. There the article always stands; people leave it out, so here it may be missing.
"""

from collections.abc import Mapping
from itertools import permutations, product

from rapidfuzz.distance import Levenshtein

LEADS = (
    "brew", "can i get", "can i have", "i want", "get me", "give me", "i'd like", "make me", "may i have",
)  # fmt: skip
ARTICLES = ("a", "an", "")

# Slot → the label that it becomes, and the category of its term.
BEFORE = {"size": "size", "roast": "roast", "numberOfShots": "shots"}
DRINK = "coffeeDrink"
AFTER = {"milkAmount": "milk", "sugarAmount": "sugar"}
LABELS = {**BEFORE, DRINK: "drink", **AFTER}


def order(slots: Mapping[str, str]) -> dict[str, str]:
    """Label → what was ordered, in lower case with single spaces.

    Raises:
        ValueError: a slot that the grammar lacks, or no drink.
    """
    if unknown := sorted(set(slots) - set(LABELS)):
        raise ValueError(f"the slot {unknown[0]!r} is not one of {', '.join(LABELS)}")
    if DRINK not in slots:
        raise ValueError(f"there is no {DRINK}")
    return {LABELS[name]: " ".join(words.lower().split()) for name, words in slots.items()}


def sentences(ordered: Mapping[str, str]) -> list[str]:
    """All sentences for an order, at most 324.

    Those with the article that the next word wants stand first, those with the other one next.
    """
    before = [ordered[label] for label in BEFORE.values() if label in ordered]
    after = [ordered[label] for label in AFTER.values() if label in ordered]

    ranked = set()
    for first, last in product(permutations(before), permutations(after)):
        words = " ".join([*first, ordered["drink"], *(["with", " and ".join(last)] if last else [])])
        right = "an" if words[0] in "aeiou" else "a"
        for article, lead in product(ARTICLES, LEADS):
            rank = 0 if article == right else 1 if article else 2
            ranked.add((rank, " ".join(f"{lead} {article} {words}".split())))
    return [sentence for _, sentence in sorted(ranked)]


def nearest(ordered: Mapping[str, str], heard: str) -> str:
    """The sentence for an order that takes the fewest edits of characters from what was heard.

    Of equally near ones the first of `sentences`. One without an article has to be nearer by the two
    characters that it lacks: else unclear speech would lose its articles.
    """

    def cost(sentence: str) -> float:
        return Levenshtein.distance(sentence, heard) + (0 if has_article(sentence) else len("a ") - 0.5)

    return min(sentences(ordered), key=cost)


def has_article(sentence: str) -> bool:
    lead = next(lead for lead in LEADS if sentence.startswith(f"{lead} "))
    return sentence[len(lead) :].split()[0] in ARTICLES
