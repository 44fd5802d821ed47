"""How files are laid out: Whisper's options of subtitles, and whether words are shown."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Options of the writers.

    Attributes:
        word_timestamps: json and jsonl list the words.
        max_line_width: characters of a subtitle's line; None: a segment is one line.
        max_line_count: lines of a subtitle. With both, segments are not kept: subtitles are filled.
        highlight_words: a subtitle for each word, which is underlined in it.
        full_json: json has segments; without, only what it has had since the first version.
    """

    word_timestamps: bool = False
    max_line_width: int | None = None
    max_line_count: int | None = None
    highlight_words: bool = False
    full_json: bool = True
