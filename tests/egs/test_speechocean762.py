"""egs/speechocean762: its preparation on a tiny corpus as published and on the real one; its download."""

import json
import shutil
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import bench
import pytest
import torch
from safetensors.torch import load_file

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read, validate

RECIPE = "speechocean762"
# Speaker → set, gender, age.
PEOPLE = {
    "0001": ("train", "m", 6), "0005": ("train", "f", 10), "0006": ("train", "f", 13),
    "1027": ("train", "m", 37), "1029": ("train", "f", 19), "1033": ("train", "m", 20),
    "0024": ("test", "f", 11), "1030": ("test", "m", 27),
}  # fmt: skip
TEXTS = ("WE CALL IT BEAR", "IT'S A LADDER")


def made(folder):
    """The published layout: tables with TABs, capitals, ids that begin with a 0; one speaker in .ogg."""
    for speaker, (name, gender, age) in PEOPLE.items():
        lines = {"spk2gender": [f"{speaker}\t{gender}"], "spk2age": [f"{speaker}\t{age}"], "spk2utt": []}
        for number, text in enumerate(TEXTS):
            id = f"0{speaker}{number:04d}"
            if number:  # only the first sentence is everybody's
                text = f"{text} {'ABCDEFGH'[list(PEOPLE).index(speaker)]}"
            file = f"WAVE/SPEAKER{speaker}/{id}.WAV"
            real = folder / file
            bench.noise(real.with_suffix(".ogg") if speaker == "1030" else real)
            lines |= {
                table: [*lines.get(table, []), f"{id}\t{value}"]
                for table, value in (("wav.scp", file), ("text", text), ("utt2spk", speaker))
            }
        for table, rows in lines.items():
            path = folder / name / table
            path.parent.mkdir(exist_ok=True)
            with path.open("a") as file:
                file.writelines(f"{row}\n" for row in rows)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return made(tmp_path_factory.mktemp("corpus") / "speechocean762")


@pytest.fixture
def copy(corpus, tmp_path):
    """A copy to break."""
    return shutil.copytree(corpus, tmp_path / "copy")


@pytest.fixture(scope="module")
def local():
    with bench.local(RECIPE, "prepare", "download", "sets") as modules:
        yield modules


# ---- the tiny corpus


@pytest.fixture(scope="module")
def ran(corpus, tmp_path_factory, base_folder):
    """Stages 1 to 3, started with a relative path."""
    work = tmp_path_factory.mktemp("work")
    options = ("--corpus", "speechocean762", "--work-dir", str(work), "--base", str(base_folder))
    done = bench.run(RECIPE, *options, "--stop-stage", "3", cwd=corpus.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    done.data = work / "data/speechocean762"
    return done


def test_the_sets_to_the_byte(ran, corpus):
    assert {path.name for path in ran.data.iterdir() if path.name[0] != "."} == {
        *("train", "dev", "test_adults", "test_children", "prepare.log")
    }
    ogg = corpus.resolve() / "WAVE/SPEAKER1030"
    assert bench.content(ran.data / "test_adults") == {
        "spk2age": ["1030 27"],
        "spk2agegroup": ["1030 19-up"],
        "spk2gender": ["1030 m"],
        "spk2utt": ["1030 1030-010300000 1030-010300001"],
        "text": ["1030-010300000 WE CALL IT BEAR", "1030-010300001 IT'S A LADDER H"],
        "utt2dur": ["1030-010300000 1.5", "1030-010300001 1.5"],
        "utt2sentence": ["1030-010300000 also-in-train", "1030-010300001 new"],
        "utt2spk": ["1030-010300000 1030", "1030-010300001 1030"],
        "wav.scp": [f"1030-01030000{number} {ogg}/01030000{number}.ogg" for number in (0, 1)],
    }
    assert bench.content(ran.data / "test_children")["spk2agegroup"] == ["0024 11-15"]
    assert bench.content(ran.data / "train")["text"] == [
        "0001-000010000 WE CALL IT BEAR",
        "0001-000010001 IT'S A LADDER A",
        "0006-000060000 WE CALL IT BEAR",
        "0006-000060001 IT'S A LADDER C",
        "1029-010290000 WE CALL IT BEAR",
        "1029-010290001 IT'S A LADDER E",
        "1033-010330000 WE CALL IT BEAR",
        "1033-010330001 IT'S A LADDER F",
    ]
    assert (ran.data / "prepare.log").read_text() == (
        "train: 6 of 6 speakers are at hand\ntest: 2 of 2 speakers are at hand\n"
        "2 of 4 test utterances have a sentence of train or dev (label sentence)\n"
    )


def test_dev_has_an_adult_and_a_child_of_the_train_speakers(ran):
    train, dev = (read(ran.data / name) for name in ("train", "dev"))
    assert sorted(one.labels["agegroup"] for one in dev) == ["06-10", "06-10", "19-up", "19-up"]
    assert not set(train.speakers) & set(dev.speakers)


def test_the_first_three_stages_pass(ran):
    lines = ran.stdout.splitlines()
    assert [line for line in lines if line.startswith("stage")] == [
        "stage 1, prepare speechocean762", "stage 2, validate speechocean762", "stage 3, coverage",
    ]  # fmt: skip
    assert "test_adults and train share 0 of 1 speakers and 1 of 2 sentences" in lines
    assert f"{ran.data}/train: 8 utterances can be learnt from" in lines


# ---- forgetting, the trade-off, the learning curve


@pytest.fixture(scope="module")
def measured(ran, corpus, tmp_path_factory, base_folder):
    """The tiny corpus through the report, with all that goes along, each once."""
    folder = tmp_path_factory.mktemp("general")
    reader = folder / "reader/14/2"
    bench.noise(reader / "14-2-0000.flac")
    (reader / "14-2.trans.txt").write_text("14-2-0000 A WORD\n")
    extra = ("--general", f"{bench.general(folder / 'talk')}:2 reader", "--trade-off", "0 0.5 1")
    extra += ("--pulls", "2", "--curve", "0.05 0.1", "--small-opts", "--epochs 1 --batch-seconds 4")
    extra += ("--test-sets", "test_adults")

    def run(*options, **environment):
        paths = ("--corpus", str(corpus), "--work-dir", str(folder / "work"), "--base", str(base_folder))
        return bench.run(RECIPE, *paths, "--size", "small", *extra, *options, cwd=folder, **environment)

    done = run("--stop-stage", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    done.run, done.exp = run, folder / "work/exp/speechocean762_small"
    done.data = folder / "work/data/speechocean762_small"
    return done


def test_general_speech_is_every_second_utterance_and_the_reader(measured):
    assert [one.id for one in read(measured.data / "general")] == [
        "reader-14-2-0000", *(f"talk-{id}" for id in ("g0-0", "g0-2", "g1-4", "g1-6")),
    ]  # fmt: skip


def test_off_is_the_base_to_the_byte(measured):
    off = measured.exp / "ia3_seed1/off/decode_greedy_general"
    base = measured.exp / "base/decode_greedy_general/text"
    assert json.loads((off / "decode.json").read_text())["adapter"]["terms"][0]["weight"] == 0
    assert (off / "text").read_bytes() == base.read_bytes()
    assert "stage 6, with ia3 off the hypotheses on general speech are the base's, byte for byte\n" in (
        measured.stdout
    )


def test_forgetting_stands_apart_in_the_tables_and_the_report(measured):
    rows = json.loads((measured.exp / "results.json").read_text())["systems"]
    assert {row["set"]: row.get("general", False) for row in rows} == {
        "test_adults": False, "general": True,
    }  # fmt: skip
    text = (measured.exp / "RESULTS.md").read_text()
    marked = (r"| reader \* | 1 | 2 |", r"| talk \* | 4 | 8 |")  # of one speaker, and of two
    for line in ("| all | 5 | 10 |", *marked, "| scale 0.5 |", "| pull 2 |"):
        assert f"\n{line}" in text
    assert "\n| general |" not in text
    points = json.loads((measured.exp / "trade_off.json").read_text())["points"]
    assert [point.get("scale", point.get("pull")) for point in points] == [0, 0.5, 1, 2]
    page = (measured.exp / "report_test_adults.html").read_text()
    assert "What it costs on general speech" in page and "scale 0.5: test_adults " in page


def test_learning_curve(measured):
    """Parts of train hold one another; an epoch of each hears as much, and all of train is the last point."""
    parts = {name: read(measured.data / f"curve/minutes_{name}") for name in ("0.05", "0.1")}
    assert [len(part) for part in parts.values()] == [2, 4]
    assert {one.id for one in parts["0.05"]} < {one.id for one in parts["0.1"]}
    trained = {
        name: json.loads((measured.exp / f"{name}_seed1/train.json").read_text())
        for name in ("curve/minutes_0.05", "curve/minutes_0.1", "ia3")
    }
    assert [one["utterances"] for one in trained.values()] == [2, 4, 8]
    steps = [one["steps"] for one in trained.values()]
    assert steps[0] == steps[1] < steps[2]
    curve = json.loads((measured.exp / "curve.json").read_text())
    assert curve["set"] == "test_adults"
    assert [point["minutes"] for point in curve["points"]] == [0.05, 0.1, 0.2]
    assert "WER on test_adults by amount of audio" in (measured.exp / "report_test_adults.html").read_text()


def test_the_time_is_projected_before_it_is_spent(measured):
    lines = measured.stdout.splitlines()
    found = [number for number, line in enumerate(lines) if " trainings left" in line]
    assert [lines[number][:18] for number in found] == ["1 trainings left, ", "2 trainings left, "]
    assert "train ia3 with pull 2" in lines[found[0] + 1]
    assert "train ia3 on 0.05 min (" in lines[found[1] + 1]


def test_a_second_run_measures_nothing_again(measured):
    again = measured.run("--stop-stage", "8")
    assert again.returncode == 0, again.stderr
    lines = again.stdout.splitlines()
    assert all(line.endswith((": done", "byte for byte")) for line in lines), again.stdout


def test_other_hypotheses_with_the_adapter_off_stop_the_recipe(measured):
    text = measured.exp / "base/decode_greedy_general/text"
    before = text.read_bytes()
    text.write_bytes(before + b"one-more\n")
    done = measured.run("--stage", "6", "--stop-stage", "6")
    text.write_bytes(before)
    assert done.returncode == 1
    assert "adapter off these must be the base's hypotheses, byte for byte" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--general", "", "--pulls", ""), "--trade-off needs general speech: give --general"),
        (("--trade-off", ""), "--pulls needs --trade-off"),
        (("--curve", "1 two"), "--trade-off and --curve take numbers such as 0.5, not 'two'"),
        (("--average", "true"), "--average takes the mean of several seeds: give --seeds 3"),
        (("--pulls", "-1"), "--pulls takes numbers such as 0.5 or 1e-2, not '-1'"),
        (("--test-sets", "test_adults general"), "no set can be called general"),
    ],
)
def test_what_goes_along_is_checked_first(measured, options, message):
    done = measured.run(*options)
    assert done.returncode == 1 and message in done.stderr


def test_the_mean_of_two_seeds_is_tested_shown_and_registered(measured, tmp_path):
    home = tmp_path / "home"
    extra = ("--seeds", "2", "--average", "true", "--pulls", "", "--curve", "")
    done = measured.run(*extra, IA3_SPEECH_HOME=str(home))
    assert done.returncode == 0, done.stdout + done.stderr
    seeds, mean = (
        [measured.exp / f"ia3_{name}" for name in names] for names in (("seed1", "seed2"), ("average",))
    )
    first, second, found = (load_file(one / "adapter/ia3_speech.safetensors") for one in (*seeds, *mean))
    assert found.keys() == first.keys()
    for name, vector in found.items():
        torch.testing.assert_close(vector.double(), (first[name].double() + second[name].double()) / 2)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    took = [json.loads((one / "train.json").read_text())["seconds"] for one in (*seeds, *mean)]
    assert took[2] == pytest.approx(took[0] + took[1])
    trade_off = json.loads((measured.exp / "trade_off.json").read_text())["points"]
    scores = {
        name: json.loads((mean[0] / f"{name}/decode_greedy_test_adults/score.json").read_text())["wer"]
        for name in (".", "scale_0.5")
    }
    assert [point["wer"] for point in trade_off[1:]] == [scores["scale_0.5"], scores["."]]
    assert "\n| ia3_average | " in (measured.exp / "RESULTS.md").read_text()
    kept = load_file(home / "adapters/mandarin/ia3_speech.safetensors")
    assert all(torch.equal(kept[name], found[name]) for name in found)
    card = (home / "adapters/mandarin/README.md").read_text()
    assert str(measured.exp) not in card and "test_adults" in card


def test_marks_become_labels_in_the_experts_bands(local, copy, tmp_path):
    marks = {"010300000": {"accuracy": 8, "fluency": 9}, "010300001": {"accuracy": 2.4, "fluency": 3.6}}
    (copy / "resource").mkdir()
    (copy / "resource/scores.json").write_text(json.dumps(marks))
    local.prepare.main(copy, tmp_path / "out")
    found = bench.content(tmp_path / "out/test_adults")
    assert found["utt2accuracy"] == ["1030-010300000 07-08", "1030-010300001 00-02"]
    assert found["utt2fluency"] == ["1030-010300000 08-10", "1030-010300001 04-05"]
    assert not (tmp_path / "out/train/utt2accuracy").exists()


# ---- what is not there


def test_whole_speakers_may_be_absent_and_are_named(local, copy, tmp_path, capsys):
    shutil.rmtree(copy / "WAVE/SPEAKER1029")
    (copy / "WAVE/SPEAKER0001/000010000.WAV").unlink()
    (copy / "WAVE/SPEAKER0001/000010001.WAV").unlink()
    local.prepare.main(copy, tmp_path / "out", "small")
    said = (
        "train: 4 of 6 speakers are at hand\n"
        "train: 4 utterances are left out, no audio of the speakers: 0001 1029\n"
    )
    assert said in (tmp_path / "out/prepare.log").read_text()
    assert said in capsys.readouterr().out


def test_a_single_absent_file_is_an_error(local, copy, tmp_path):
    (copy / "WAVE/SPEAKER0001/000010001.WAV").unlink()
    fault = (
        r"train/wav\.scp: speaker 0001 lacks 1 of 2 files, such as WAVE/SPEAKER0001/000010001\.WAV \(fetch"
    )
    with pytest.raises(UserError, match=fault):
        local.prepare.main(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("train/spk2age", "0001\tsix", r"spk2age: the age of 0001 is 'six', not in whole years"),
        ("train/spk2age", "0002\t6", r"spk2age: has no line for 0001 \(unpack the corpus again\)"),
        ("train/text", "000010000", r"text:1: 000010000 stands alone \(a line is `key value`\)"),
        ("train/utt2spk", "000010001\t0001", r"utt2spk:2: 000010001 stands here again"),
    ],
)
def test_a_broken_table_is_named(local, copy, tmp_path, file, line, message):
    _, *rest = (copy / file).read_text().splitlines()
    (copy / file).write_text("\n".join([line, *rest]) + "\n")
    with pytest.raises(UserError, match=message):
        local.prepare.main(copy, tmp_path / "out")


def test_another_folder_is_told_the_layout(local, tmp_path):
    with pytest.raises(
        UserError, match=r"(?s)not the corpus as it was published.*OpenSLR 101.*WAVE/SPEAKER0001"
    ):
        local.prepare.main(tmp_path, tmp_path / "out")


def test_without_a_corpus_it_says_where_it_is_published(tmp_path):
    done = bench.run(RECIPE, "--work-dir", str(tmp_path / "work"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No corpus: give --corpus DIR, or --download DIR.\n")
    wrong = bench.run(RECIPE, "--corpsu", "x", "--work-dir", str(tmp_path / "work"))
    assert wrong.stderr.endswith("adapt.sh: invalid option --corpsu (--help lists the options)\n")
    assert "https://www.openslr.org/101/" in done.stderr
    assert not (tmp_path / "work").exists()


def test_help_has_the_recipes_own_option():
    done = bench.run(RECIPE, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("  --download DIR ")
    assert "  --seeds N " in done.stdout


# ---- fetched from the publisher, whom a server on this machine stands for


class Publisher(BaseHTTPRequestHandler):
    """Serves `files`; an answer breaks off after `breaks.pop(0)` bytes, while there is such a number."""

    files: ClassVar[dict[str, bytes]] = {}
    breaks: ClassVar[list[int]] = []
    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        self.asked.append(self.headers.get("Range"))
        body = self.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + self.breaks.pop(0)] if self.breaks else body[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def publisher(corpus, tmp_path, local, monkeypatch):
    """A server with the tar file of the tiny corpus; its address is that of OpenSLR's resources."""
    archive = tmp_path / "speechocean762.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, "speechocean762")
    Publisher.files = {"/101/speechocean762.tar.gz": archive.read_bytes()}
    Publisher.breaks, Publisher.asked = [], []
    monkeypatch.setattr(local.download, "PAUSE", 0.0)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_connection_that_breaks_goes_on_where_it_was(local, publisher, corpus, tmp_path, capsys):
    Publisher.breaks = [10_000, 20_000]
    url = f"{publisher}/101/speechocean762.tar.gz"
    local.download.main(url, tmp_path / "fetched", "speechocean762")
    assert Publisher.asked == [None, "bytes=10000-", "bytes=30000-"]
    assert "the connection ended early; 0.0 MB are here" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["speechocean762"]
    for path in corpus.rglob("*.WAV"):
        assert (
            tmp_path / "fetched/speechocean762" / path.relative_to(corpus)
        ).read_bytes() == path.read_bytes()
    local.download.main(url, tmp_path / "fetched", "speechocean762")
    assert len(Publisher.asked) == 3


def test_what_a_killed_run_left_is_not_fetched_again(local, publisher, tmp_path):
    folder = tmp_path / "fetched"
    folder.mkdir()
    (folder / "speechocean762.tar.gz.part").write_bytes(Publisher.files["/101/speechocean762.tar.gz"])
    local.download.main(f"{publisher}/101/speechocean762.tar.gz", folder, "speechocean762")
    assert (folder / "speechocean762/train/wav.scp").is_file()


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("/101/other.tar.gz", {}, r"other\.tar\.gz: 404 Not Found"),
        (
            "/101/speechocean762.tar.gz",
            {"md5": "0" * 32},
            r"\.part: its md5 is [0-9a-f]{32}, the publisher's 0{32}",
        ),
        (
            "/101/speechocean762.tar.gz",
            {"makes": "another"},
            r"\.part: holds no folder another \(is it the file",
        ),
        (
            "/101/cut.tar.gz",
            {},
            r"cut\.tar\.gz\.part: can't be unpacked: .* \(delete it and fetch it again\)",
        ),
        ("/101/evil.tar", {}, r"evil\.tar\.part: can't be unpacked: .*outside the destination"),
    ],
)
def test_what_is_wrong_with_a_download_is_said(local, publisher, tmp_path, path, options, message):
    Publisher.files["/101/cut.tar.gz"] = Publisher.files["/101/speechocean762.tar.gz"][:5000]
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("../evil"))
    Publisher.files["/101/evil.tar"] = (tmp_path / "evil.tar").read_bytes()
    with pytest.raises(UserError, match=message):
        local.download.main(
            f"{publisher}{path}", tmp_path / "fetched", **{"makes": "speechocean762", **options}
        )
    assert not (tmp_path / "evil").exists()
    assert not [entry for entry in (tmp_path / "fetched").iterdir() if entry.is_dir()]


def test_the_recipe_fetches_and_goes_on(publisher, tmp_path):
    options = ("--download", "fetched", "--stop-stage", "1", "--work-dir", "work", "--size", "small")
    done = bench.run(RECIPE, *options, cwd=tmp_path, OPENSLR=publisher)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"{tmp_path}/fetched/speechocean762: unpacked (sha256 of speechocean762.tar.gz: "
    )
    assert len(read(tmp_path / "work/data/speechocean762_small/dev")) == 4


# ---- the real corpus


@pytest.fixture(scope="module")
def real(local, shared_data, tmp_path_factory):
    if not (shared_data / RECIPE).is_dir():
        pytest.skip("../shared/data/speechocean762 is absent")
    out = tmp_path_factory.mktemp("real")
    local.prepare.main(shared_data / RECIPE, out)
    return {name: validate(out / name) for name in ("train", "dev", "test_adults", "test_children")}


def test_the_real_corpus(real):
    assert {name: (len(data), len(data.speakers)) for name, data in real.items()} == {
        "train": (2120, 106), "dev": (380, 19), "test_adults": (840, 42), "test_children": (860, 43),
    }  # fmt: skip
    assert not set(real["train"].speakers) & set(real["dev"].speakers)
    ages = {name: {int(one.labels["age"]) for one in data} for name, data in real.items()}
    assert min(ages["test_adults"]) == 19
    assert (min(ages["test_children"]), max(ages["test_children"])) == (6, 15)
    groups = [data[0].labels["agegroup"] for data in real["dev"].speakers.values()]
    assert 5 <= groups.count("19-up") <= 14


def test_sentences_of_the_real_corpus_that_train_holds_too(real):
    known = [one for name in ("test_adults", "test_children") for one in real[name]
             if one.labels["sentence"] == "also-in-train"]  # fmt: skip
    assert len(known) == 46
    heard = {one.text for name in ("train", "dev") for one in real[name]}
    assert all(one.text in heard for one in known)


def test_run_sh_stays_a_page():
    assert len((bench.ROOT / "egs" / RECIPE / "run.sh").read_text().splitlines()) <= 40
