"""Your Kaldi data directories: train, test and perhaps dev, or one directory to divide.

    python -m ia3_speech.data.corpora.kaldi CORPUS DATA_DIR [--size full|small] [--allow-pipes]

In: CORPUS/{train,test} and perhaps CORPUS/dev; or CORPUS/wav.scp, one data directory, which
`preparation.divide` divides by speaker. Out: DATA_DIR/{train,dev,test}, with absolute paths. Without
CORPUS/dev, 15 % of train's consultations (where every utterance has utt2consultation) or speakers become dev,
by a hash of their names; of a single speaker, 15 % of the sentences.
"""

from dataclasses import replace
from pathlib import Path

from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora.preparation import Size, divide, is_few, remove_earlier_dev, write_set
from ia3_speech.data.kaldi.directory import read_data_directory, split_data_directory


def prepare(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT/{train,dev,test} from the Kaldi data directories of CORPUS.

    Args:
        corpus: a data directory; or a folder with the data directories train, test and perhaps dev
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: wav.scp may hold shell commands; none is run here
    """
    sets = {}
    if (corpus / "wav.scp").is_file():
        data = read_data_directory(corpus, allow_pipes=allow_pipes)
        speakers_known = len(data.speakers) < len(data)  # else each utterance counts as a speaker
        divided = divide(data.utterances, speakers_known=speakers_known)
        sets = {name: replace(data, utterances=chosen) for name, chosen in divided.items()}
    for name in ("train", "test", "dev") if not sets else ():
        if (corpus / name / "wav.scp").is_file():
            sets[name] = read_data_directory(corpus / name, allow_pipes=allow_pipes)
        elif name != "dev":
            hint = "a corpus is a folder with train/ and test/, and perhaps dev/; or one data directory"
            raise UserError(f"{corpus / name}: no Kaldi directory ({hint})")
        elif not is_few(train := sets["train"]):
            by = "speaker" if len(train.speakers) > 1 else "text"
            if all("consultation" in utterance.labels for utterance in train):
                by = "consultation"
            sides = split_data_directory(train.path, out / "train", out / "dev", by=by)
            sets |= zip(("train", "dev"), sides, strict=True)
            print(f"{out / 'dev'}: split from train by {by}")
    if "dev" not in sets:
        remove_earlier_dev(out)
    for name, data in sets.items():
        write_set(out / name, data, size, data.speaker_labels)


def is_kaldi(corpus: Path) -> bool:
    """Whether a folder has one of the layouts that `prepare` reads."""
    return any((corpus / table).is_file() for table in ("wav.scp", "train/wav.scp", "test/wav.scp"))


if __name__ == "__main__":
    command(prepare)
