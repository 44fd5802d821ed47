# ruff: noqa: E501 (Kaldi's lines are as long as they are)
"""Kaldi's files to the byte, small cases written out; tests/test_score.py compares with Kaldi's files."""

import shutil
import subprocess

import pytest

from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.scoring.alignment import ErrorCounts, align
from ia3_speech.scoring.kaldi_files import format_ops, format_per_spk, format_per_utt, format_wer_lines

SAID = {"s1-u1": "a b", "s1-u2": "one two three", "s2-u3": "yes", "s2-u4": "", "s2-u5": "long words here"}
HEARD = {"s1-u1": "b c", "s1-u2": "", "s2-u3": "oh yes yes", "s2-u4": "", "s2-u5": "long words here"}
UTT2SPK = {utterance: utterance[:2] for utterance in SAID}


def aligned(said, heard):
    return {
        utterance: align(text.split(), heard.get(utterance, "").split()) for utterance, text in said.items()
    }


def test_halves_are_rounded_as_in_single_precision():
    # 100·1609/20000 is 8.045, in double precision below the half and in single precision above it
    assert f"{100 * 1609 / 20000:.2f}" == "8.04"
    assert format_wer_lines(ErrorCounts(words=20000, deletions=1609), 0).startswith("%WER 8.05 [")


def test_per_utt():
    assert format_per_utt(aligned(SAID, HEARD)) == (
        "s1-u1 ref  a  b\n"
        "s1-u1 hyp  b  c\n"
        "s1-u1 op   S  S\n"
        "s1-u1 #csid 0 2 0 0\n"
        "s1-u2 ref  one  two  three\n"
        "s1-u2 hyp  ***  ***   *** \n"
        "s1-u2 op    D    D     D  \n"
        "s1-u2 #csid 0 0 0 3\n"
        "s2-u3 ref  ***  ***  yes\n"
        "s2-u3 hyp   oh  yes  yes\n"
        "s2-u3 op    I    I    C \n"
        "s2-u3 #csid 1 0 2 0\n"
        "s2-u4 ref  \n"
        "s2-u4 hyp  \n"
        "s2-u4 op   \n"
        "s2-u4 #csid 0 0 0 0\n"
        "s2-u5 ref  long  words  here\n"
        "s2-u5 hyp  long  words  here\n"
        "s2-u5 op     C     C      C \n"
        "s2-u5 #csid 3 0 0 0\n"
    )


def test_per_spk():
    assert format_per_spk(aligned(SAID, HEARD), UTT2SPK) == (
        "SPEAKER         id       #SENT      #WORD       Corr        Sub        Ins        Del        Err      S.Err\n"
        "s1              raw          2          5          0          2          0          3          5          2\n"
        "s1              sys          2          5       0.00      40.00       0.00      60.00     100.00     100.00\n"
        "s2              raw          3          4          4          0          2          0          2          1\n"
        "s2              sys          3          4     100.00       0.00      50.00       0.00      50.00      33.33\n"
        "SUM             raw          5          9          4          2          2          3          7          3\n"
        "SUM             sys          5          9      44.44      22.22      22.22      33.33      77.78      60.00\n"
    )


def test_ops():
    assert format_ops(aligned(SAID, HEARD)) == (
        "correct        here     here    1\n"
        "correct        long     long    1\n"
        "correct       words    words    1\n"
        "correct         yes      yes    1\n"
        "deletion        one      ***    1\n"
        "deletion      three      ***    1\n"
        "deletion        two      ***    1\n"
        "insertion       ***       oh    1\n"
        "insertion       ***      yes    1\n"
        "substitution      a        b    1\n"
        "substitution      b        c    1\n"
    )
    assert format_ops({"u": []}) == ""


@pytest.mark.skipif(
    "GNU" not in subprocess.getoutput("sort --version"), reason="needs GNU sort, as Kaldi does"
)
def test_ops_are_in_the_order_of_gnu_sort():
    texts = {"u1": "é e ë ez è é Ez -e éz 'e e_ naïve nave", "u2": "é é e ez ez naïve nave"}
    text = format_ops(
        aligned(texts, {"u1": "e é ë ez e é ez -e ez e e_ nave naïve", "u2": "é e e ez é x x y"})
    )
    command = [shutil.which("sort"), "-b", "-i", "-k", "1,1", "-k", "4,4rn", "-k", "2,2", "-k", "3,3"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True, env={"LC_ALL": "C"})
    assert text.encode() == done.stdout


def test_reading_text(tmp_path):
    file = tmp_path / "text"
    file.write_bytes(b"u1 a  b\nu2\nu3\tc d \n")
    assert read_kaldi_text(file) == {"u1": "a  b", "u2": "", "u3": "c d"}
    file.write_bytes(b"\xef\xbb\xbfu1 a\n")  # a byte-order mark
    assert read_kaldi_text(file) == {"u1": "a"}
    file.write_bytes(b"")
    assert read_kaldi_text(file) == {}
    for content, message in ((b"u1 a\nu1 b\n", "text:2: u1 occurs twice"), (b"u1 \xff\n", "text:1")):
        file.write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_kaldi_text(file)
