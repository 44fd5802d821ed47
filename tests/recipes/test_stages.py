"""What options say is trained, decoded and scored: the commands of recipes/*.sh, to the letter."""

import os
import subprocess
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
# Jobs and what stands behind $once are printed, not run; `select` finds the second seed, `best` greedy
# search.
PRINTED = r"""
set -euo pipefail
. {script}
terms=echo out_of_domain=none lm=none
{own}
python() {{
  case "$*" in
    *experiments\ select*) echo ia3_plus_seed2 ;;
    *experiments\ stale*) echo "${{OUTDATED-}}" ;;
    *experiments\ best*) echo "decode_greedy_${{*: -1}}" ;;
    *) echo "$@" | sed 's/-m ia3_speech.//' ;;
  esac
}}
. parse_options.sh
locate "$@"
once=once train_cmd=printed decode_cmd=printed score_cmd=printed
step() {{ shift; "$@"; }}
once() {{ echo "$@" | sed 's/.* -- //; s/python -m ia3_speech.//'; }}
printed() {{
  while [[ $1 == *=* || $1 == *.log ]]; do [[ $1 != JOB* ]] || printf '%s ' "$1"; shift; done
  echo "$@" | sed 's/^once .* -- //; s/python -m ia3_speech.//'
}}
{call}
"""


@pytest.fixture
def commands(tmp_path):
    """A function: the commands that a recipe with these options runs, below stage 2."""

    def run(*options: str, script="adapt.sh; . study.sh", call="adapt; study; finish", own=""):
        text = PRINTED.format(script=script, own=own, call=call)
        path = f"{RECIPES}:{RECIPES}/utils:{os.environ['PATH']}"
        places = {"IA3_SPEECH_START_DIR": str(tmp_path), "IA3_SPEECH_ROOT": str(RECIPES.parent)}
        environment = os.environ | places | {"PATH": path}
        (tmp_path / "data/x/dev").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/x/train").mkdir(exist_ok=True)
        (tmp_path / "data/x/dev/text").write_text("a " + 110 * "word " + "\n")
        command = ["bash", "-c", text, "run.sh", "--corpus", "x", "--stage", "4", *options]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def lines(done: subprocess.CompletedProcess) -> list[str]:
    """Without folders, the base and the precision, which all commands have."""
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout
    for everywhere in ("exp/x/", "data/x/", " --base mini", " --precision auto"):
        text = text.replace(everywhere, "")
    return [" ".join(line.split()) for line in text.splitlines()]


DECODE = "decode --search greedy"
SCORED = "--training train --terms terms_test"


def test_one_adapter_and_one_set(commands):
    done = commands("--stop-stage", "8")
    assert done.stdout.count("--base mini") == 4 and done.stdout.count("--precision auto") == 3
    found = lines(done)
    assert found == [
        f"{DECODE} test base/decode_greedy_test",
        f"score test base/decode_greedy_test {SCORED}",
        "JOB=1:1 train --config ia3_plus --dev dev --replay shipped --train train --out ia3_plus_seedJOB --seed JOB",  # noqa: E501
        "calibrate dev --store --minimum-words 100 --adapter ia3_plus_seed2/adapter --search greedy",
        f"{DECODE} --adapter ia3_plus_seed1/adapter test ia3_plus_seed1/decode_greedy_test",
        "score test ia3_plus_seed1/decode_greedy_test --baseline base/decode_greedy_test " + SCORED,
        "experiments collect exp/x",
        "report test ia3_plus_seed2/decode_greedy_test --training ia3_plus_seed2/metrics.jsonl --out report_test.html",  # noqa: E501
    ]


def test_the_shipped_speech_is_replayed_or_other_or_none(commands, tmp_path):
    (tmp_path / "talk").mkdir()
    (tmp_path / "talk/wav.scp").touch()
    options = {"shipped": " --replay shipped", "talk": f" --replay {tmp_path}/talk", "none": " --replay none"}
    for replay, replayed in options.items():
        found = lines(commands("--stop-stage", "5", "--replay", replay))
        assert f"train --config ia3_plus --dev dev{replayed} --train train" in found[2]


def test_other_speech_whose_folder_begins_with_none(commands, tmp_path):
    (tmp_path / "nonenglish").mkdir()
    for given, folder in (("nonenglish", f"{tmp_path}/nonenglish"), ("none", "")):
        assert lines(commands("--out-of-domain", given, call='echo "$out_of_domain"')) == [folder]


def test_a_set_is_decoded_in_parts_that_are_then_gathered(commands):
    decode = f"{DECODE} test base/decode_greedy_test"
    found = lines(commands("--stop-stage", "4", "--nj", "3"))
    assert found[:2] == [f"JOB=1:3 {decode} --part JOB/3", decode]


def test_language_model_and_hot_words(commands):
    found = lines(commands("--stage", "7", "--stop-stage", "7", "--lm", "own"))
    with_lm = "--config ia3_plus_seed2/lm_search.yaml"
    assert found == [
        "lm train --dev dev --out lm.arpa.gz --summary lm.json",
        "tune_lm dev --lm lm.arpa.gz --out base/lm_search.yaml",
        "tune_lm dev --lm lm.arpa.gz --adapter ia3_plus_seed2/adapter --out ia3_plus_seed2/lm_search.yaml",
        f"calibrate dev --store --minimum-words 100 --adapter ia3_plus_seed2/adapter {with_lm}",
        "decode --config base/lm_search.yaml test base/decode_lm_test",
        f"score test base/decode_lm_test --baseline base/decode_greedy_test {SCORED}",
        f"decode {with_lm} --adapter ia3_plus_seed2/adapter test ia3_plus_seed2/decode_lm_test",
        f"score test ia3_plus_seed2/decode_lm_test --baseline base/decode_lm_test {SCORED}",
        "decode --search greedy --adapter ia3_plus_seed2/adapter dev ia3_plus_seed2/decode_greedy_dev",
        "score dev ia3_plus_seed2/decode_greedy_dev",
        f"decode {with_lm} --adapter ia3_plus_seed2/adapter dev ia3_plus_seed2/decode_lm_dev",
        "score dev ia3_plus_seed2/decode_lm_dev",
        "echo train terms_train.tsv",
        "bash -c cut -f 1 terms_train.tsv >terms_train",
        "hotwords learn dev ia3_plus_seed2/decode_greedy_dev --terms terms_train --out ia3_plus_seed2/hotwords.txt",  # noqa: E501
        f"calibrate dev --store --minimum-words 100 --adapter ia3_plus_seed2/adapter {with_lm} "
        "--hotwords ia3_plus_seed2/hotwords.txt",
        f"decode {with_lm} --hotwords ia3_plus_seed2/hotwords.txt --adapter ia3_plus_seed2/adapter "
        "test ia3_plus_seed2/decode_hotwords_test",
        f"score test ia3_plus_seed2/decode_hotwords_test --baseline ia3_plus_seed2/decode_lm_test {SCORED}",
        f"decode {with_lm} --hotwords ia3_plus_seed2/hotwords.txt --adapter ia3_plus_seed2/adapter "
        "dev ia3_plus_seed2/decode_hotwords_dev",
        "score dev ia3_plus_seed2/decode_hotwords_dev",
    ]
    for options in (("--terms", ""), ("--hotwords", "none")):
        found = lines(commands("--stage", "7", "--stop-stage", "7", "--lm", "own", *options))
        assert len(found) == 12 and not any("hotwords" in line for line in found)


def test_the_selected_adapter_is_registered_where_it_helps(commands):
    found = lines(commands("--stage", "9", "--name", "clinic", "--out-of-domain", "talk"))
    scores = (
        "ia3_plus_seed2/decode_greedy_test/score.json ia3_plus_seed2/decode_greedy_out_of_domain/score.json"
    )
    assert found == [f"experiments register ia3_plus_seed2/adapter clinic --score {scores}"]
    found = lines(commands("--stage", "9", "--name", "clinic", "--register-anyway", "true"))
    score = scores.partition(" ")[0]
    assert found == [f"experiments register ia3_plus_seed2/adapter clinic --anyway --score {score}"]


def test_studies_add_trainings_and_the_mean_is_shown(commands):
    options = ("--seeds", "2", "--average", "true", "--out-of-domain", "talk", "--curve", "1 5")
    found = lines(
        commands("--trade-off", "0 0.5 1", "--variants", "decay-to-one=0.1", "--stop-stage", "8", *options)
    )
    assert [line for line in found if " train --config" in line] == [
        f"JOB=1:{jobs} train --config ia3_plus --dev dev --replay shipped --train {data} "
        f"--out {out}_seedJOB --seed JOB"
        for jobs, data, out in (
            (2, "train", "ia3_plus"), (2, "train --decay-to-one 0.1", "ia3_decay-to-one0.1"),
            (2, "curve/minutes_1 --epoch-minutes 5", "curve/minutes_1"),
            (2, "curve/minutes_5 --epoch-minutes 5", "curve/minutes_5"),
        )
    ]  # fmt: skip
    mean = "adapters combine ia3_plus_seed1/adapter+ia3_plus_seed2/adapter --average --out ia3_average/adapter --force"  # noqa: E501
    assert mean in found
    decoded = [line.split()[-1] for line in found if line.startswith("decode ")]
    both = ("decode_greedy_test", "decode_greedy_out_of_domain")
    assert decoded == [
        *(
            f"{system}/{name}"
            for system in ("base", "ia3_plus_seed1", "ia3_plus_seed2", "ia3_average")
            for name in both
        ),
        "ia3_average/decode_greedy_dev",
        *(f"ia3_decay-to-one0.1_seed{seed}/{name}" for seed in (1, 2) for name in both),
        *(f"curve/minutes_{part}_seed{seed}/{both[0]}" for part in (1, 5) for seed in (1, 2)),
        *(f"ia3_average/scale_0.5/{name}" for name in both),
    ]
    assert sum("--adapter ia3_average/adapter:0.5 " in line for line in found) == 2
    other = both[1]
    assert f"score out_of_domain ia3_average/{other} --baseline base/{other} --cluster speaker" in found
    assert "score dev ia3_average/decode_greedy_dev" in found
    shown = "report test ia3_average/decode_greedy_test --training ia3_plus_seed2/metrics.jsonl"
    assert found[-1].startswith(shown)


def test_a_start_from_an_adapter_where_the_user_stood(commands, tmp_path):
    (tmp_path / "exp/mine").mkdir(parents=True)
    options = ("--init-adapter", "exp/mine:0.5+scots", "--init-name", "start", "--stop-stage", "6")
    found = lines(commands(*options))
    adapter = f"{tmp_path}/exp/mine:0.5+scots"
    assert f"--train train --init-adapter {adapter} --out ia3_plus_seedJOB" in found[2]
    assert f"{DECODE} --adapter {adapter} test start/decode_greedy_test" in found


def test_speakers(commands):
    options = ("--k", "3 15", "--seeds", "1", "--nj", "2", "--out-of-domain", "talk", "--stop-stage", "7")
    own = "adapt_config=speakers init_config=other"
    found = lines(commands(*options, script="speakers.sh", call="adapt_speakers", own=own))
    adapted = [line for line in found if "speakers --data" in line]
    system = "--data test --folds 4 --config speakers --k 15 --seed 1 --out from_base_k15_seed1"
    decoded = "--decode-dir from_base_k15_seed1/decode_greedy_test"
    assert adapted[0] == f"JOB=1:2 speakers {system} {decoded} --part JOB/2"
    systems = [line.split(" --out ")[1].split()[0] for line in adapted]
    assert systems == 2 * ["from_base_k15_seed1"] + 2 * ["from_base_k3_seed1"]
    scored = "score test from_base_k15_seed1/decode_greedy_test --cluster speaker "
    scored += "--training-per-speaker from_base_k15_seed1 --baseline base/decode_greedy_test"
    assert scored in found
    options = ("--k", "15", "--grid", "epochs=3,6", "--out-of-domain", "talk")
    found = lines(commands(*options, script="speakers.sh", call="adapt_speakers", own=own))
    adapted = [line.split(" --decode-dir ")[0] for line in found if "speakers --data" in line]
    system = "speakers --data test --folds 4 --config speakers --epochs {0} --k 15 --seed 1 --out "
    assert [line.partition(" ")[2] for line in adapted] == [
        f"{system}from_base_k15_epochs{{0}}_seed1".format(epochs) for epochs in (3, 6)
    ]
    assert found[-1].startswith("experiments show")  # nothing is reported or registered


def test_a_grid_trains_each_combination_and_tests_on_request(commands):
    options = ("--grid", "learning-rate=1e-3,1e-2 placements=key+value,ffn", "--train-opts", "--clip 2")
    systems = [
        f"ia3_learning-rate{rate}_placements-{placements}"
        for rate in ("1e-3", "1e-2")
        for placements in ("key-value", "ffn")
    ]
    found = lines(commands(*options, "--out-of-domain", "none"))
    trained = [line for line in found if line.startswith("JOB")]
    assert found[2:] == [*trained, "experiments show exp/x --parts training"]  # no test set of theirs
    assert [line.split(" --out ")[1] for line in trained] == [f"{one}_seedJOB --seed JOB" for one in systems]
    of_first = "--clip 2 --learning-rate 1e-3 --placements key value --train train"
    assert trained[0].startswith(f"JOB=1:1 train --config ia3_plus --dev dev --replay shipped {of_first} ")
    decoded = [line for line in lines(commands(*options, "--stop-stage", "6")) if line.startswith(DECODE)]
    assert [line.split()[-1] for line in decoded[1:]] == [
        f"{one}_seed1/decode_greedy_test" for one in systems
    ]


def test_changed_data_are_noticed_and_trained_on_anew_on_request(commands, tmp_path):
    """What was trained is kept until then; nobody is asked where there is no terminal."""
    own = "OUTDATED=exp/x/ia3_plus_seed1"
    (tmp_path / "exp/x/ia3_plus_seed1").mkdir(parents=True)
    done = commands("--stop-stage", "5", own=own)
    assert (
        done.returncode == 1
        and "since these were trained: exp/x/ia3_plus_seed1 (--retrain true" in done.stderr
    )
    assert (tmp_path / "exp/x/ia3_plus_seed1").is_dir() and "train" not in done.stdout
    commands("--stop-stage", "5", "--retrain", "true", own=own)
    assert not (tmp_path / "exp/x/ia3_plus_seed1").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--grid", "clip=1 rate"), "--grid takes OPTION=VALUE,VALUE, as 'learning-rate=1e-3,1e-2 placement"),
        (("--grid", "clip=1", "--curve", "1"), "--grid goes alone: study what it finds best in another run"),
        (("--curve", "1 two"), "--curve takes numbers such as 0.5, not 'two'"),
        (("--average", "true"), "--average takes the mean of several seeds: give --seeds 3"),
        (("--variants", "clip=1"), "--trade-off and --variants need out-of-domain speech: give --out"),
        (("--variants", "clip 1"), "--variants takes OPTION=NUMBER,NUMBER, as 'replay-weight=1,3 layers"),
        (("--test-sets", "test out_of_domain"), "--test-sets: no set can be called out_of_domain"),
        (("--lm", "none.arpa"), "--lm none.arpa: no such file (own, none, or ARPA files and texts)"),
        (("--hotwords", "absent.txt"), "--hotwords absent.txt: no such file (own, none, or a file with"),
        (("--lm", "none", "--hotwords", __file__), "--hotwords FILE needs a language model, and --lm"),
        (("--replay", "absent"), "--replay absent: no data directory with a wav.scp (shipped, none, or a D"),
        (("--train-config", "none.yaml"), "there is no configuration none.yaml"),
        (("--init-adapter", "x", "--init-name", "base"), "--init-name can't be base: something else"),
        (("--stop-stage", "validate"), "--stop-stage must be a number from 4 on, not 'validate'"),
        (("--stage", "6", "--stop-stage", "5"), "--stop-stage must be a number from 6 on, not '5'"),
        (("--corpus-name", "../x"), "--corpus-name is the name of a folder below data/ and exp/, not '../x'"),
        (("--corpus", "data/x"), "data/x is the corpus itself (give another --corpus-name or --work-dir)"),
        (("word",), "unexpected argument 'word' (--help lists the options)"),
        *(
            (
                ("--corpus-name", name),
                f"the path data/{name} contains {sign} (give another --corpus-name or --work-dir)",
            )
            for name, sign in (("R&D", "&"), ("anna's", "'"), (r"a\b", "\\"), ("x]", "]"), ("a b", "a space"))
        ),
        (("--system", "x;y"), "the path x;y contains ; (rename it"),
        (("--init-adapter", "anna$(id)"), "the path anna$(id) contains $ (rename it"),
        (("--lm", "$(id).arpa"), "the path $(id).arpa contains $ (rename it"),
    ],
)
def test_what_can_not_be_meant_is_refused_and_nothing_made(commands, options, message, tmp_path):
    done = commands(*options)
    assert done.returncode == 1 and f"error: {message}" in done.stderr and not done.stdout
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    "speaker", ["$x", "`x`", "a;b", "a&", "a|b", "it's", 'a"b', "-rf", "..", "a/b", "J_JOB", "{a,b}", "a*"]
)
def test_speakers_are_plain_words(tmp_path, speaker):
    """In the second table; those of the first, among them letters beyond ASCII, are."""
    (tmp_path / "a").write_text("a-1 Zoë_1.x-a@k\n")
    (tmp_path / "b").write_text(f"b-1 b\nc-1 {speaker}\n")
    script = f". {RECIPES}/utils/stages.sh; plain_speakers a; plain_speakers a b"
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"error: b:2: {speaker} can't name a folder (")


def test_the_speakers_options_are_checked(commands):
    for options, message in (
        (("--k", "15 x"), "error: --k must be a number from 2 on, not 'x'"),
        (("--folds", "1"), "error: --folds must be a number from 2 on, not '1'"),
        (("--nj", "0"), "error: --nj must be a number from 1 on, not '0'"),
    ):
        done = commands(*options, script="speakers.sh", call="adapt_speakers", own="adapt_config=speakers")
        assert done.returncode == 1 and message in done.stderr


def test_two_runs_in_one_folder_wait_for_each_other(tmp_path):
    script = f". {RECIPES}/utils/stages.sh; lock exp; echo at work; read -r; echo done"
    options = {"cwd": tmp_path, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    first = subprocess.Popen(["bash", "-euc", script], **options)
    assert first.stdout.readline() == "at work\n"
    second = subprocess.Popen(["bash", "-euc", script], **options)
    assert second.stdout.readline() == "waiting for another run that is still at work in exp\n"
    assert first.communicate("\n")[0] == "done\n"
    assert second.communicate("\n")[0] == "at work\ndone\n"


def test_where_a_path_of_the_line_is_meant(tmp_path):
    for folder in ("stood/data/notes", "stood/mini", "recipe/recordings"):
        (tmp_path / folder).mkdir(parents=True)
    script = f"""
    IA3_SPEECH_START_DIR={tmp_path}/stood IA3_SPEECH_ROOT=/root
    . {RECIPES}/utils/stages.sh
    for path in data/notes data/notes:40 /data/notes recordings mini facebook/wav2vec2-base "" .; do
      from_start "$path"
    done
    """
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path / "recipe", capture_output=True, text=True)
    notes = f"{tmp_path}/stood/data/notes"
    assert done.stdout.split("\n") == [
        notes, f"{notes}:40", "/data/notes", "recordings", "mini", "facebook/wav2vec2-base", "",
        f"{tmp_path}/stood", "",
    ]  # fmt: skip


def test_a_step_shows_progress_as_it_comes_where_there_is_no_terminal(tmp_path):
    """Line by line: the second one is written when the first has been read."""
    script = f"""
    . {RECIPES}/utils/stages.sh
    exp=exp; mkdir -p exp/log
    slow() {{ run exp/log/x.log echo loading "&&" echo epoch 1: loss 2 "&&" cat fifo; }}
    step "stage 5, train" slow
    step "stage 6, decode" run exp/log/y.log echo "exp/a: up to date"
    step "stage 7, fail" false
    """
    os.mkfifo(tmp_path / "fifo")
    path = f"{RECIPES}/utils:{os.environ['PATH']}"
    done = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines = [done.stdout.readline() for _ in range(2)]
    assert lines == ["stage 5, train … \n", "    epoch 1: loss 2\n"]
    (tmp_path / "fifo").write_text("fold 1 of 4, about 2 minutes left\nother\n")
    rest = done.communicate()[0].splitlines()
    assert rest[0] == "    fold 1 of 4, about 2 minutes left" and rest[1].startswith("stage 5, train … ")
    assert rest[2:4] == ["stage 6, decode … up to date", "stage 7, fail … "] and done.returncode == 1
