"""The location of a base: the shipped base, a user's folder, or an id on the Hub; and of shipped speech.
Loads no torch."""

from pathlib import Path

from ia3_speech.common.inputs import visible_files

PACKAGE = Path(__file__).resolve().parents[1]
MINI = PACKAGE / "mini"
# Kaldi data directories: 84 utterances of 28 readers of LibriSpeech for replay and gates; 30 of six others
GENERAL_SPEECH, HELD_OUT_SPEECH = (PACKAGE / f"out_of_domain/librispeech_{name}" for name in ("train", "dev"))
BASE_CURVE = "learning_curve.json"  # in a base's folder: gains of adaptation by number of utterances
# Files of a base's folder that do not change its logits
NOT_LOGITS = ("lm.*", "*.md", "confidence.json", "gate.safetensors", "guard.json", BASE_CURVE)


def base_folder(base: str) -> Path | None:
    """The folder of a base, the shipped base's or the user's; None for an id on the Hub."""
    return MINI if base == "mini" else Path(base) if Path(base).is_dir() else None


def base_files(base: str) -> list[Path] | None:
    """The files of a base's folder on which its logits depend; None for an id on the Hub."""
    folder = base_folder(base)
    return folder and [path for path in visible_files(folder) if not any(map(path.match, NOT_LOGITS))]


def full_name(name: str | Path) -> str:
    """A base's name in an adapter's record: mini, a Hub id, or a folder's full path."""
    folder = base_folder(str(name))
    if folder and folder.resolve() == MINI:
        return "mini"
    return str(folder.resolve()) if folder else str(name)
