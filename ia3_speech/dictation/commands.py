"""Spoken punctuation and other commands of dictated text, and the capitals that follow from them.

In: a `Grammar`. Out: edits of text. "no fever comma no cough full stop new line" → "no fever, no cough.⏎";
then "No fever, no cough.⏎". Phrases match as whole words; what stands beside a phrase may make it a plain
word ("for a period of three weeks").
"""

import re
from collections.abc import Iterable

from ia3_speech.dictation.edits import Edit, Replacement, Tracked, substitute
from ia3_speech.dictation.grammar import Command, Grammar
from ia3_speech.dictation.spoken_numbers import BELOW_HUNDRED

BLANKS = "[ \t]+"
END_OF_WORD = r"(?![\w'’/{}-])"
FEWEST_LETTERS = 6  # of "…xt line}", a tag that lost its beginning
CONTEXT = 60  # characters beside a command that are looked at
MARKS = ",.;:?!"  # what a recogniser that writes punctuation puts beside a command


def phrase_pattern(phrases: Iterable[str]) -> str:
    """Any of the phrases, the longest first, as whole words with any blanks between them."""
    ordered = sorted({*phrases}, key=lambda one: (-len(one), one))
    either = "|".join(BLANKS.join(map(re.escape, one.split())) for one in ordered)
    return rf"(?<![\w'’/{{}}-])(?:{either}){END_OF_WORD}"


def key(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def replace_phrases(grammar: Grammar) -> Edit | None:
    """`phrases`: written as the grammar says."""
    if not grammar.phrases:
        return None
    pattern = re.compile(phrase_pattern(grammar.phrases), re.IGNORECASE)
    return substitute(pattern, lambda match: grammar.phrases[key(match[0])])


# ---- commands


def write_commands(grammar: Grammar) -> Edit | None:
    """`commands`: punctuation in place of its words."""
    said = {phrase: command for command in grammar.commands for phrase in command.say}
    if not said:
        return None
    # Marks beside the phrase are the recogniser's own: "Stop. New line. Next" and "Really question mark?"
    pattern = re.compile(rf"([{MARKS}]*)[ \t]*({phrase_pattern(said)})([{MARKS}]*)", re.IGNORECASE)
    blanks = re.compile(r"[ \t]*")
    contexts = {
        command: (context(command.not_after, "$"), context(command.not_before, ""))
        for command in said.values()
    }

    def is_word(command: Command, match: re.Match) -> bool:
        """Whether the phrase is plain words, by what stands beside it."""
        if command.joins == "left" and not match.string[: match.start()].rpartition("\n")[2].strip():
            return True
        not_after, not_before = contexts[command]
        before = match.string[max(0, match.start() - CONTEXT) : match.start()]
        behind = match.string[match.end() : match.end() + CONTEXT].lstrip(" \t")
        found = not_after and not match[1] and not_after.search(before)
        return bool(found or (not_before and not match[3] and not_before.match(behind)))

    def edit(text: Tracked) -> Tracked:
        changes, at = [], 0
        while match := pattern.search(text.text, at):
            command = said[key(match[2])]
            at = match.end(2)  # the marks behind a word may stand before the next command
            if is_word(command, match):
                continue
            at = match.end()
            if command.joins in ("right", "both"):
                at = blanks.match(text.text, at).end()
            changes.append(Replacement(match.start(), at, spaced(command, match), match.start(2)))
        return text.changed(changes)

    return edit


def context(phrases: tuple[str, ...], end: str) -> re.Pattern | None:
    """Matches one of the phrases beside a command, in which # is any number but one; `end` is "$" for those
    before it."""
    if not phrases:
        return None
    numbers = "|".join(word for word in BELOW_HUNDRED if word != "one")
    pattern = phrase_pattern(phrases).replace(r"\#", rf"(?:{numbers}|\d+)")
    return re.compile(f"{pattern}[ \t]*$" if end else pattern, re.IGNORECASE)


def spaced(command: Command, match: re.Match) -> str:
    """The command's character in place of its words and of the recogniser's marks, with the blank before it
    where it does not join."""
    marks = match[1] if command.write.startswith("\n") or command.joins in ("right", "none") else ""
    behind = match[3] if command.joins == "left" and not command.write.strip(")]”") else ""
    left = "" if command.joins in ("left", "both") or match.start() == 0 else " "
    return f"{marks}{left}{command.write}{behind}"


def mend_tags(grammar: Grammar) -> Edit | None:
    """`braces`: "{next} line}", "{period", "xt line}" → the command's words; other braces go.

    A tag is a recogniser's own, so that no word beside it makes it a plain word: the character is written.
    """
    said = {phrase: command for command in grammar.commands for phrase in command.say}
    if not said:
        return None
    longest = max(len(phrase.split()) for phrase in said)
    pattern = re.compile(r"\S*[{}]\S*")

    def edit(text: Tracked) -> Tracked:
        while match := pattern.search(text.text):
            text = text.changed([mended(text.text, match)])
        return text

    def mended(text: str, match: re.Match) -> Replacement:
        """The tag around one word written, or that word's braces gone."""
        before = [*re.finditer(r"[^ \t\n]+", text[: match.start()])][-longest + 1 :] if longest > 1 else []
        behind = [*re.finditer(r"[^ \t\n]+", text[match.end() :])][: longest - 1]
        starts = [*(one.start() for one in before), match.start()]
        ends = [match.end(), *(match.end() + one.end() for one in behind)]
        for start in starts:
            for end in reversed(ends):
                letters = re.sub(r"[{}]", "", text[start:end])
                command = said.get(key(letters)) or command_of_fragment(key(letters), said, text[start:end])
                if command and "\n" not in letters:
                    return join_tag(text, start, command, end)
        return Replacement(*match.span(), re.sub("[{}]", "", match[0]))

    return edit


def command_of_fragment(letters: str, said: dict[str, Command], tag: str) -> Command | None:
    """The command that a tag without its beginning is of, if only one can be meant."""
    if not tag.endswith("}") or len(letters) < FEWEST_LETTERS:
        return None
    found = {said[phrase].write: said[phrase] for phrase in said if phrase.endswith(letters)}
    return next(iter(found.values())) if len(found) == 1 else None


def join_tag(text: str, start: int, command: Command, end: int) -> Replacement:
    """The command's character in place of a tag and of the blanks beside it."""
    before, behind = text[:start], text[end:]
    left = "" if command.joins in ("left", "both") or not before.strip() else " "
    right = "" if command.joins in ("right", "both") or not behind.strip() else " "
    first, last = len(before.rstrip(" \t")), len(text) - len(behind.lstrip(" \t"))
    return Replacement(first, last, f"{left}{command.write}{right}", start)


# ---- capitals


def write_names(names: Iterable[str]) -> Edit | None:
    """`names`: with the capitals of the list."""
    known = {key(name): name for name in names}
    if not known:
        return None
    # A name may be followed by 's.
    pattern = re.compile(rf"{phrase_pattern(known).removesuffix(END_OF_WORD)}(?![\w/-])", re.IGNORECASE)
    return substitute(pattern, lambda match: known.get(key(match[0]), match[0]))


def write_pronoun() -> Edit:
    """`pronoun_i`: "i'm" → "I'm"."""
    pattern = re.compile(r"(?<![\w'’./-])i(?=(?:['’](?:m|ve|ll|d|s))?(?![\w'’./-]))")
    return substitute(pattern, lambda match: "I")


def start_sentences(grammar: Grammar) -> Edit:
    """`sentence_starts`: a capital at the start of the text, of a line, and behind . ? and !; not behind an
    abbreviation, nor where a word has a capital inside ("pH") or is a symbol of a unit."""
    pattern = re.compile(r"(^|\n|(\S*)[.?!…][\"'”’)\]]*[ \t\n])([\s\"'“‘(\[]*)(\w)(?=(\S*))")
    abbreviations = {one.lower() for one in grammar.abbreviations}

    def capital(match: re.Match) -> str:
        word = (match[4] + match[5]).rstrip(f"{MARKS})]”")
        shortened = f"{(match[2] or '').lower()}." in abbreviations
        if shortened or word != word.lower() or word in grammar.units:
            return match[4]
        return match[4].upper()

    return substitute(pattern, capital, 4)
