"""Self-train an adapter from recordings without transcripts, by confidently recognised words.

    ia3-speech self-train --data recordings --out exp/ward      a folder of recordings, or a wav.scp directory
    ia3-speech self-train --data calls --init-adapter bank --out exp/calls       starts from an adapter
    ia3-speech self-train --data calls --lm bank.arpa.gz --out exp/calls         with your language model
    ia3-speech self-train --data calls --base NEW --teacher-adapter bank --out exp/calls     for another base

First, the teacher (the base with the adapter to start from, or `--teacher-base` with `--teacher-adapter`)
decodes the recordings by beam search with a language model.
Words that have enough confidence, and are recognised again when the audio is played slower and faster, become
the targets of training. Transcripts are not read. Writes OUT/{config.yaml, adapter/, metrics.jsonl,
train.json} as `train` does, and the targets (ia3_speech/training/self_training.py). If nothing can be
learnt, as from silence or music, the adapter equals the start. An interrupted run resumes.
"""

from dataclasses import replace
from typing import Any

from ia3_speech.adapters.spec import BASE_ALONE, parse_sum, tensor_files_of
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.formatting import percent, plural
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.model.location import base_files, base_folder
from ia3_speech.training.config import SelfTrainingOptions, check_options, training_inputs


def main(options: SelfTrainingOptions, search_options: SearchOptions) -> None:
    from ia3_speech.model.base import load_base
    from ia3_speech.routing.gate import add_gate_of_training
    from ia3_speech.training.self_training import SelfTraining, read_recordings, teacher_of

    check_options(options)
    if search_options.search == "greedy":
        raise TrainingError("`search=greedy`: recordings are labelled by beam search (leave it out)")
    training = SelfTraining(options, replace(search_options, search=search_options.search or "beam"))
    teacher = teacher_of(options)
    labelling_base = base_folder(teacher.base if teacher else options.base)
    files = {"lm": search_options.files(labelling_base), "hotwords": search_options.hotwords}
    search = {name: value for name, value in vars(search_options).items() if name not in files}
    if teacher:
        spec = parse_sum(teacher.adapter) if teacher.adapter else BASE_ALONE
        files |= {"teacher_base": base_files(teacher.base), "teacher_adapter": tensor_files_of(spec)}
    inputs = training_inputs(options, {"data": options.data} | files, search=search)
    if options.force and options.out.exists():
        load_base(options.base, device="cpu")  # errors come before the deletion
    if inputs.is_current(options.out, options.force, resume=True):
        return
    summary = training.run()
    if summary["selected_round"]:
        utterances, _ = read_recordings(options.data, options.allow_pipes)
        base = load_base(options.base)
        add_gate_of_training(options.out, base, utterances)
    inputs.record(options.out)
    print("\n".join(report(f"{options.out}/adapter", summary)))


def report(adapter: str, summary: dict[str, Any]) -> list[str]:
    """The result of self-training, in sentences; `adapter` is its name in them."""
    used = plural(summary["recordings"] - len(summary["left_out"]), "recording")
    if not summary["selected_round"]:
        return [f"{adapter}: the start, after {used}: nothing was learnt", f"note: {summary['note']}"]
    compared = "the teacher's text" if "teacher" in summary else "its text by beam search"
    before, after = percent(summary["start_disagreement"]), percent(summary["disagreement"])
    return [
        f"{adapter}: round {summary['selected_round']} of {len(summary['rounds'])}: "
        f"{plural(summary['learnt_words'], 'word')}, {summary['learnt_minutes']:.1f} minutes, of {used}; "
        f"{summary['seconds']:.0f} s",
        f"Its greedy text differs from {compared} in {after} % of the words, at the start in {before} %",
    ]
