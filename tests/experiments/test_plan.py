"""ia3_speech.experiments.plan: what options say is trained and tested, to the letter, and what is refused."""

import re
from pathlib import Path

import pytest

from ia3_speech import attach, save_adapter
from ia3_speech.cli import UserError
from ia3_speech.experiments import plan_speakers
from ia3_speech.experiments.plan import PlanOptions, main, read_plan, resolved_adapter
from ia3_speech.experiments.plan_speakers import SpeakerPlanOptions


def rows(exp: Path, name: str) -> list[str]:
    return (exp / f"plan/{name}.tsv").read_text().splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("exp")


def test_one_adapter_and_one_set(here):
    main(PlanOptions(exp=here, corpus="x", terms="terms.py"))
    assert rows(here, "train") == ["ia3_seedJOB\t1\t--train data/train"]
    assert rows(here, "baseline") == [
        "base\t1\ttest\t--base mini --search greedy\t--training data/train --terms exp/terms_test"
    ]
    assert rows(here, "systems") == [
        "ia3_seedJOB\t1\ttest\t--base mini --search greedy --adapter exp/ia3_seedJOB/adapter"
        "\t--baseline exp/base/decode_greedy_test --training data/train --terms exp/terms_test"
    ]
    assert rows(here, "lm") == [
        "base\t1\ttest\t--base mini --config exp/base/lm_search.yaml"
        "\t--baseline exp/base/decode_greedy_test --training data/train --terms exp/terms_test",
        "SELECTED\t1\ttest\t--base mini --config exp/SELECTED/lm_search.yaml --adapter exp/SELECTED/adapter"
        "\t--baseline exp/base/decode_lm_test --training data/train --terms exp/terms_test",
    ]
    assert rows(here, "hotwords") == [
        "SELECTED\t1\ttest\t--base mini --config exp/SELECTED/lm_search.yaml"
        " --hotwords exp/SELECTED/hotwords.txt --adapter exp/SELECTED/adapter"
        "\t--baseline exp/SELECTED/decode_greedy_test --training data/train --terms exp/terms_test"
    ]
    assert read_plan(here)[0].language_model and read_plan(here)[0].hotwords


@pytest.mark.parametrize("options", [{"terms": ""}, {"hotwords": "none"}, {"lm": "none"}])
def test_without_hot_words(here, options):
    """A recipe without a list of terms has none, unless a file names them."""
    main(PlanOptions(**{"exp": here, "corpus": "x", "terms": "terms.py", **options}))
    assert rows(here, "hotwords") == [] and not read_plan(here)[0].hotwords
    if not options.get("terms", "x"):
        Path("mine.txt").write_text("metformin\n")
        main(PlanOptions(exp=here, corpus="x", hotwords="mine.txt"))
        assert len(rows(here, "hotwords")) == 1
        with pytest.raises(UserError, match=r"absent\.txt: no such file"):
            main(PlanOptions(exp=here, corpus="x", hotwords="absent.txt"))


def test_without_a_language_model(here):
    main(PlanOptions(exp=here, corpus="x", lm="none"))
    assert rows(here, "lm") == [] and not read_plan(here)[0].language_model


def test_studies_only_add_rows(here):
    options = {"seeds": "2", "average": True, "out_of_domain": "talk", "curve": "1 5"}
    main(PlanOptions(exp=here, corpus="x", trade_off="0 0.5 1", decay_to_one="0.1", **options))
    assert rows(here, "train") == [
        "ia3_seedJOB\t2\t--train data/train",
        "ia3_decay0.1_seedJOB\t1\t--train data/train --decay-to-one 0.1",
        "curve/minutes_1_seedJOB\t2\t--train data/curve/minutes_1 --epoch-minutes 5",
        "curve/minutes_5_seedJOB\t2\t--train data/curve/minutes_5 --epoch-minutes 5",
    ]
    tested = [tuple(row.split("\t")[:3]) for row in rows(here, "systems")]
    assert tested == [
        ("ia3_seedJOB", "2", "test"), ("ia3_seedJOB", "2", "out_of_domain"),
        ("ia3_seedJOB/off", "2", "out_of_domain"),
        ("ia3_average", "1", "test"), ("ia3_average", "1", "out_of_domain"), ("ia3_average", "1", "dev"),
        ("ia3_average/off", "1", "out_of_domain"),
        ("ia3_decay0.1_seedJOB", "1", "test"), ("ia3_decay0.1_seedJOB", "1", "out_of_domain"),
        ("curve/minutes_1_seedJOB", "2", "test"), ("curve/minutes_5_seedJOB", "2", "test"),
        ("SELECTED/scale_0.5", "1", "test"), ("SELECTED/scale_0.5", "1", "out_of_domain"),
    ]  # fmt: skip
    plan, train, tests = read_plan(here)
    assert plan.made[:3] == ["ia3_seed1", "ia3_seed2", "ia3_decay0.1_seed1"]
    assert (len(train), len(tests)) == (4, 13)
    assert tests[5].score == "" and tests[2].decode.endswith("adapter:0")


def test_a_plan_that_stays_keeps_its_date(here):
    main(PlanOptions(exp=here, corpus="x"))
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*.*")}
    main(PlanOptions(exp=here, corpus="x"))
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": ""}, "no corpus: give --corpus DIR"),
        ({"seeds": "0"}, "--seeds must be a number from 1 on, not '0'"),
        ({"size": "medium"}, "--size must be full or small, not 'medium'"),
        ({"average": True}, "--average takes the mean of several seeds: give --seeds 3"),
        ({"curve": "1 two"}, "--curve takes numbers such as 0.5, not 'two'"),
        ({"trade_off": "0.5"}, "--trade-off needs out-of-domain speech: give --out-of-domain 'DIR DIR'"),
        ({"decay_to_one": "1e-2"}, "--decay-to-one needs --trade-off"),
        ({"decay_to_one": "-1", "trade_off": "1"}, "--decay-to-one takes numbers such as 0.5, not '-1'"),
        ({"test_sets": "test out_of_domain"}, "no set can be called out_of_domain, --out-of-domain is"),
        ({"lm": "none.arpa"}, "--lm none.arpa: no such file (own, none, or ARPA files and texts)"),
        ({"train_config": "none.yaml"}, "there is no configuration none.yaml"),
        ({"init_adapter": "x", "init_name": "base"}, "--init-name can't be base: something else below exp/"),
        *(({"data": Path("data") / name}, f"no folder can be called data/{name} (give another --corpus-name")
          for name in ("R&D", "anna's", r"a\b", "x]", "a b")),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused_and_nothing_written(here, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        main(PlanOptions(exp=here, **{"corpus": "x"} | options))
    assert not here.exists()


def test_a_recipe_says_how_its_corpus_is_published(here):
    Path("local").mkdir()
    Path("local/published.txt").write_text("No corpus: see https://www.openslr.org/12/\n")
    with pytest.raises(UserError, match=r"No corpus: see https://www\.openslr\.org/12/"):
        main(PlanOptions(exp=here))


def test_an_adapter_of_the_line_is_meant_where_the_user_stood(tmp_path, tiny_base, monkeypatch):
    base, home = tiny_base(), tmp_path / "home/adapters"
    attach(base.model)
    for place in (
        home / "scots",
        tmp_path / "stood/exp/mine/adapter",
        tmp_path / "recipe/exp/theirs/adapter",
    ):
        save_adapter(base.model, place, base=base)
    (tmp_path / "stood/scots").mkdir()  # no adapter, so the name is meant
    monkeypatch.setenv("IA3_SPEECH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IA3_SPEECH_START_DIR", str(tmp_path / "stood"))
    monkeypatch.chdir(tmp_path / "recipe")
    assert resolved_adapter("scots") == "scots"
    assert resolved_adapter("exp/mine:0.5+scots") == f"{tmp_path}/stood/exp/mine/adapter:0.5+scots"
    assert resolved_adapter("exp/theirs") == "exp/theirs"
    assert Path.cwd() == tmp_path / "recipe"
    with pytest.raises(UserError, match="nobody"):
        resolved_adapter("nobody")


# ---- speakers


def test_speakers_from_the_base(here):
    plan_speakers.main(SpeakerPlanOptions(exp=here, corpus="x", k="3 15", seeds="2", out_of_domain="talk"))
    assert rows(here, "train") == [
        "from_base_k15_seedJOB\t2\t--config  --k 15",
        "from_base_k3_seedJOB\t2\t--config  --k 3",
    ]
    assert rows(here, "systems")[0] == (
        "from_base_k15_seedJOB\t2\ttest\t--base mini --search greedy"
        "\t--cluster speaker --training-per-speaker exp/from_base_k15_seedJOB "
        "--baseline exp/base/decode_greedy_test"
    )
    assert rows(here, "systems")[1] == (
        "from_base_k15_seedJOB\t2\tout_of_domain\t--base mini --search greedy "
        "--adapter-per-speaker exp/from_base_k15_seedJOB --in-turn"
        "\t--cluster speaker --baseline exp/base/decode_greedy_out_of_domain"
    )
    assert rows(here, "reports") == [
        "from_base_k15\t--curve exp/curve.json",
        "from_base_k3\t--curve exp/curve.json",
    ]
    assert read_plan(here)[0].system == "from_base_k15"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": "15 x"}, "--k must be numbers from 2 on, not '15 x'"),
        ({"folds": "1"}, "--folds must be a number from 2 on, not '1'"),
        ({"nj": "0"}, "--nj must be a number from 1 on, not '0'"),
    ],
)
def test_wrong_options_for_speakers(here, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        plan_speakers.main(SpeakerPlanOptions(exp=here, corpus="x", **options))
