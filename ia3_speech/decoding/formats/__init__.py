"""File formats of transcripts: one function each, from a `Transcript` to the content of a file.

    text      the text alone, on one line
    dictation the same after dictation
    txt       a line a segment
    json      an object: path, text, seconds, adapter, base; with segments, the keys of OpenAI's verbose_json
    jsonl     an object a segment
    srt vtt   subtitles
    csv       a row a word, with its confidence
    tsv       start, end (milliseconds) and text of each segment, under a heading
    ctm       Kaldi's, a line a word
    stm       NIST's, a line a segment
    textgrid  Praat's, a tier of segments and one of words

txt, json, srt, vtt and tsv have the names and meanings of Whisper's. `FORMATS` is the list: a format is added
there.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ia3_speech.data.recordings import part_numbers
from ia3_speech.decoding.formats import subtitles, writers
from ia3_speech.decoding.options import OutputOptions
from ia3_speech.decoding.transcript import Transcript
from ia3_speech.errors import UserError


@dataclass(frozen=True)
class Format:
    """A file format."""

    # The content of a file, which ends in a line end unless it is empty
    write: Callable[[Transcript, OutputOptions], str]
    suffix: str  # of its files
    timed: bool = True  # whether it needs segments
    joined: bool = False  # whether several recordings may follow one another on stdout


FORMATS = {
    "text": Format(writers.to_text, ".txt", timed=False, joined=True),
    "dictation": Format(writers.to_text, ".txt", timed=False, joined=True),
    "txt": Format(writers.to_txt, ".txt"),
    "json": Format(writers.to_json, ".json", timed=False, joined=True),
    "jsonl": Format(writers.to_jsonl, ".jsonl", joined=True),
    "srt": Format(subtitles.to_srt, ".srt"),
    "vtt": Format(subtitles.to_vtt, ".vtt"),
    "tsv": Format(writers.to_tsv, ".tsv"),
    "csv": Format(writers.to_csv, ".csv"),
    "ctm": Format(writers.to_ctm, ".ctm", joined=True),
    "stm": Format(writers.to_stm, ".stm", joined=True),
    "textgrid": Format(writers.to_textgrid, ".TextGrid"),
}
ALL = [name for name in FORMATS if name not in ("text", "dictation")]  # `txt` has its file name
SUBTITLES = ("srt", "vtt")


def parse_formats(names: str) -> list[str]:
    """`txt,json` → its formats, `all` → all. Raises UserError where there is no such format, or two have the
    same file name."""
    formats: list[str] = []
    for name in names.lower().replace(" ", "").split(","):
        if name != "all" and name not in FORMATS:
            raise UserError(f"--format: {name!r} is none of {', '.join(FORMATS)}, all")
        formats += [each for each in (ALL if name == "all" else [name]) if each not in formats]
    if len(texts := [name for name in formats if FORMATS[name].suffix == ".txt"]) > 1:
        raise UserError(f"--format: {' and '.join(texts)} both write .txt files (take one of them)")
    return formats


def check_output(options: OutputOptions) -> None:
    """Raises UserError for options that do not fit one another."""
    formats = parse_formats(options.format)
    if len(formats) > 1 and options.output_dir is None:
        raise UserError(f"--format {options.format} writes several files (give --output-dir)")
    if options.skip_existing and options.output_dir is None:
        raise UserError("--skip-existing has no effect without --output-dir")
    for name in ("max_line_width", "max_line_count", "highlight_words"):
        flag, value = "--" + name.replace("_", "-"), getattr(options, name)
        if value not in (None, False) and not set(formats) & set(SUBTITLES):
            raise UserError(f"{flag} has no effect on --format {options.format} (take srt or vtt)")
        if value is not None and value < 1 and name != "highlight_words":
            raise UserError(f"{flag} is {value}, and has to be at least 1")
    limit = options.review_below
    if limit is not None and not (0 <= limit <= 1 and set(formats) & {"text", "txt", "csv"}):
        raise UserError(f"--review-below {limit:g}: from 0 to 1, and for --format text, txt or csv")
    part_numbers(options.part)
    # Subtitles have times in any case: Whisper's command lines ask for word times to lay them out.
    if options.word_timestamps and not set(formats) & {"json", "jsonl", *SUBTITLES}:
        raise UserError(f"--word-timestamps has no effect on --format {options.format} (take json or jsonl)")


def with_times(options: OutputOptions) -> bool:
    """Whether the output holds times."""
    formats = parse_formats(options.format)
    timed = any(FORMATS[name].timed for name in formats)
    timed = timed or options.word_timestamps or options.review_below is not None
    return timed or ("json" in formats and options.full_json)
