"""Write an HTML report of a scored decode directory: a page, and its tables as CSV files.

    ia3-speech report data/test exp/medical/ia3_plus_seed1/decode_greedy_test --out report.html

writes report.html and the folder report/: error_rates.csv, words.csv, utterances.csv … In CSV, rates are in
percent, and the bounds of an interval have separate columns.

Included if they exist: the baseline that DECODE_DIR was scored against; adapter/, metrics.jsonl and
decode_greedy_out_of_domain/score.json beside DECODE_DIR; the texts of base and adapter decoded with other
searches; curve.json and trade_off.json in the folder above. Audio files are linked; --embed-audio copies them
into the page. A browser prints a single page of it: the sentences, the error rates and the notes.
"""

from pathlib import Path

from ia3_speech.common.atomic import write_text
from ia3_speech.common.formatting import plural
from ia3_speech.common.inputs import Inputs
from ia3_speech.decoding.formats import CONFIDENCES


def main(
    data: Path,
    decode_dir: Path,
    training: Path | None = None,
    embed_audio: bool = False,
    allow_pipes: bool = False,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Write an HTML report of DECODE_DIR, which `ia3-speech score` has scored.

    Args:
        data: the data directory that was decoded
        decode_dir: its decode directory, already scored
        training: metrics.jsonl of the adapter's training (default: beside DECODE_DIR)
        embed_audio: copy the audio into the page, about 25 kB per second of audio
        allow_pipes: run the shell commands in wav.scp, for spectrograms and --embed-audio
        out: the page (default: report.html in DECODE_DIR); its tables go into the folder of the same name
            without .html
        force: write the page again even if its inputs are the same as before
    """
    from ia3_speech.report import tables as report_tables
    from ia3_speech.report.data import read_report
    from ia3_speech.report.page import make_page, title_of_record

    report = read_report(data, decode_dir, training, allow_pipes)
    out = out or decode_dir / "report.html"
    decoded = [report.system, *report.others, *([report.baseline] if report.baseline else [])]
    names = ("text", "score.json", "decode.json", CONFIDENCES)
    sources = {"data": data, "decode_dir": [system.folder / name for system in decoded for name in names]}
    sources |= report.files
    if adapter := report.files.get("adapter"):  # a title is all that the page has of its record
        sources["adapter"] = sorted(adapter.glob("*.safetensors"))
    options = {"embed_audio": embed_audio, "allow_pipes": allow_pipes or None}
    inputs = Inputs(sources, options | {"title": adapter and title_of_record(report.adapter)})
    folder = report_tables.tables_folder(out)
    if inputs.is_current(out, force or not folder.is_dir()):
        return
    if embed_audio:
        players = report_tables.embedded_audio(report.utterances)
    else:
        players = report_tables.linked_audio(report.utterances, out.absolute().parent)
    tables = report_tables.report_tables(report)
    report_tables.write_table_files(out, tables)
    write_text(out, make_page(report, tables, players))
    inputs.record(out)
    size = out.stat().st_size
    shown = f"{plural(len(report.utterances), 'utterance')}, {plural(len(players), 'player')}"
    print(f"{out}: {shown}, {size / 1000:,.0f} kB; {folder}: {plural(len(tables), 'table')}")
