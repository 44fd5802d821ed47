"""README and the pages of docs/: links lead to files, and each block of commands or Python runs as it stands.

The blocks of a page run in order in a folder that looks like a clone and contains a reader's own files:
recordings, a corpus, a dataset, bases and adapters. A fence that ends in {.no-run} marks a block that can't
run here: it installs, needs a cluster, or takes minutes. ADDED names the options that make commands take
seconds. Commands are forks of a process that has imported PyTorch (tests/egs/python_server.py).
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import soundfile
from corpus_files import noise
from tiny_models import tiny_whisper

from ia3_speech import IA3Config, attach, load_base, save_adapter
from ia3_speech.adapters import registry
from ia3_speech.data.audio import load_audio
from ia3_speech.routing.gate import measure_speech, write_gate

ROOT = Path(__file__).parents[1]
# README is the site's first page. The pages that run_examples.py writes: in its order.
WRITTEN = ("language_models", "transcribe", "dictation")
OTHERS = sorted({file.stem for file in (ROOT / "docs").glob("*.md")} - {*WRITTEN, "reference"})
PAGES = ["README.md", *(f"docs/{name}.md" for name in (*WRITTEN, *OTHERS))]
SPEECH = ROOT / "ia3_speech/out_of_domain/librispeech_dev/audio"
BLOCK = re.compile(
    r"^ *```(bash|console|python|yaml)(?: title=\"(\S+)\")?\n(.*?)^ *```$", re.DOTALL | re.MULTILINE
)
COMMAND = re.compile(r"^\$ ((?:.*(?:\\|; do|<<'E')\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
LANGUAGE_MODELS = (
    "ia3-speech lm doctor/train --out my.arpa.gz; cp my.arpa.gz ward.arpa.gz; echo metformin >drugs.txt"
)
FIVE = ("key", "value", "ffn", "ffn_output", "attention_output")  # of ia3_plus
PEOPLE = ("ann", "bert", "carl", "dora")  # of docs/adaptation.md and docs/voices.md
TINY = "--base facebook/wav2vec2-base-960h --replay none"  # a small random base in place of mini
ADDED = {  # start of a line → options that are added to it
    "bash egs/TEMPLATE/run.sh": "--stop-stage 3 --out-of-domain none",  # tests/egs/ runs all stages
    "ia3-speech train --config few": f"{TINY} --epochs 1 --force",
    "ia3-speech train --config ia3_plus": f"{TINY} --epochs 1 --force",
    "ia3-speech train --config whisper": "--epochs 1 --force --replay none",
    "ia3-speech self-train": f"{TINY} --epochs 1",
    "ia3-speech decode --test-time": "--base facebook/wav2vec2-base-960h",
    "ia3-speech tune-lm": "--lm-weights 0.5 --word-scores 0",  # one point of the grid
    "ia3-speech adapters register exp/clinic": "--force",  # the name is there already
}


def test_the_lines_of_the_readme_are_short():
    """Tables apart."""
    lines = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if line[:1] != "|"]
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.fixture(scope="module")
def clone(tmp_path_factory, random_base) -> Path:
    """A clone with copies of the recipes, which write beside themselves; and a reader's own files."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("ia3_speech", "recipes", "scripts", "tests", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    for recipe in ("TEMPLATE", "medical_dictation"):
        outputs = shutil.ignore_patterns("data", "exp", "__pycache__")
        shutil.copytree(ROOT / "egs" / recipe, folder / "egs" / recipe, ignore=outputs)
    shutil.copytree(random_base, folder / "facebook/wav2vec2-base-960h")  # in place of the hub
    for part in tiny_whisper():
        part.save_pretrained(folder / "openai/whisper-base")
    sys.path.insert(0, str(ROOT / "scripts"))
    pytest.importorskip("espeakng_loader")
    from run_examples import make_speech

    make_speech(folder)
    wave = load_audio(SPEECH / "422-122949-0030.ogg")  # 3 seconds
    for name in ("audio.wav", "a.wav", "new.wav", "unknown.wav", "visits/anna/1.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, wave, 16_000)
    soundfile.write(folder / "note.flac", wave, 16_000)
    texts = (SPEECH.parent / "text").read_text().splitlines()
    texts = sorted((line.split(maxsplit=1) for line in texts), key=lambda line: len(line[1]))[:15]
    rows = ["file,text\n"]
    for number, (id, text) in enumerate(texts):
        source = next(SPEECH.glob(f"{id}.*"))
        shutil.copy(source, folder / f"{number:02d}{source.suffix}")
        for place in ("recordings", "calls")[: 2 if number < 4 else 1]:
            (folder / place).mkdir(exist_ok=True)
            shutil.copy(source, folder / f"{place}/{number:02d}{source.suffix}")
        rows.append(f"{number:02d}{source.suffix},{text.lower()}\n")
    (folder / "recordings/list.csv").write_text("".join(rows))
    for number in range(12):
        noise(folder / f"DIR/{number:02d}.wav", 1.0)
        noise(folder / f"music/{number % 6:02d}.wav", 1.0)
    rows = [f"{n:02d}.wav,sentence {'abcdefghijkl'[n]},speaker {n % 4}\n" for n in range(12)]
    (folder / "DIR/list.csv").write_text("".join(["file,text,speaker\n", *rows]))
    # docs/corrections.md: recordings of anna, and a table with two faults
    for name in ("000940086.ogg", "000940074.ogg", "000940133.ogg", *(f"monday/{n}.ogg" for n in range(3))):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(sorted(SPEECH.iterdir())[len(name) + ord(name[-5]) % 7], folder / name)
    rows = ["file,text", "000940074.ogg,dora likes rowing", "000940133.ogg,rôle", "000940999.ogg,no file"]
    (folder / "list.csv").write_text("\n".join(rows) + "\n", "utf-8")
    (folder / "ten").symlink_to("recordings")
    return folder


@pytest.fixture(scope="module")
def shell(tmp_path_factory, clone, random_base, forking_path) -> dict[str, str]:
    """The environment of commands: `python` and `ia3-speech` on PATH, a registry with the recipes' adapters,
    which change nothing."""
    for module in ("xdist", "peft", "mkdocs", "nbclient"):  # else scripts/test.sh makes an environment
        pytest.importorskip(module)
    home = tmp_path_factory.mktemp("home")
    wave = load_audio(clone / "audio.wav")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IA3_SPEECH_HOME", str(home))
        for base, names in (
            ("mini", ("medical", "mandarin", "speaker42", *PEOPLE)),
            (random_base, ("clinic", "accent", "anna", "anna")),
        ):
            model = load_base(base)
            speech = measure_speech(model, [wave, wave[:16_000]])  # for --adapter auto
            attach(model.model, IA3Config(placements=FIVE))
            for number, name in enumerate(names):  # anna twice: the first becomes anna@1
                folder = tmp_path_factory.mktemp("adapter") / name
                labels = {"speaker": name} if name in PEOPLE else {"domain": f"example {number}"}
                training = {"data": str(clone / "doctor/dev")}
                save_adapter(model.model, folder, base=model, labels=labels, training=training)
                write_gate(folder, speech, model.fingerprint)
                registry.register(folder, name, keep=True)
                if name == "medical":
                    for copy in ("medical", "exp/doctor/adapter", "exp/caller/adapter"):
                        shutil.copytree(folder, clone / copy)
    variables = {"PATH": forking_path, "IA3_SPEECH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    variables |= {"SLURM_ARRAY_TASK_ID": "1"}  # docs/clusters.md
    subprocess.run(["bash", "-c", LANGUAGE_MODELS], cwd=clone, env=os.environ | variables, check=True)
    return os.environ | variables


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def port() -> int:
    return free_port()


def run(line: str, printed: str, folder: Path, shell: dict[str, str], port: int) -> None:
    """Run a line; it succeeds, unless the page shows that it prints an error."""
    added = next((options for start, options in ADDED.items() if line.startswith(start)), "")
    line = f"{line.partition('  #')[0]} {added}" if added else line
    line = line.replace("localhost:8000", f"localhost:{port}")
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=shell, capture_output=True, text=True)
    fails = re.search(r'no such|can\'t|"error"', printed) is not None and not line.startswith("cat ")
    assert (done.returncode != 0 or '"error"' in done.stdout) == fails, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page, clone, shell, port, tmp_path):
    text = (ROOT / page).read_text("utf-8")
    home = shutil.copytree(shell["IA3_SPEECH_HOME"], tmp_path / "home")  # each page has its own registry
    shell = shell | {"IA3_SPEECH_HOME": str(home)}
    blocks = [(kind, title, textwrap.dedent(content)) for kind, title, content in BLOCK.findall(text)]
    scripts = [content for kind, _, content in blocks if kind == "python"]
    (clone / "example.py").write_text("\n".join(scripts).replace("localhost:8000", f"localhost:{port}"))
    server = None
    for name in ("data", "texts"):  # of the page before
        shutil.rmtree(clone / name, ignore_errors=True)
    sets = {"train": "train", "tr": "train", "dev": "dev", "test": "dev", "calls": "dev"}
    for name, source in sets.items():
        if f"data/{name}" in text:
            shutil.copytree(clone / "doctor" / source, clone / "data" / name)
    try:
        for kind, title, content in blocks:
            if kind == "yaml":
                (clone / (title or "keys.yaml")).write_text(content)
                continue
            if server is None and "localhost:8000" in content:
                server = start_server(clone, shell, port, with_keys="Authorization" in text)
            if kind == "console":
                lines = COMMAND.findall(content)
            elif kind == "bash":
                lines = [(line, "") for line in content.replace("\\\n", "").splitlines()]
            else:
                lines = [("python example.py", "")] * (content == scripts[-1])  # all scripts of the page
            for line, printed in lines:
                run(line, printed, clone, shell, port)
    finally:
        if server:
            server.terminate()
            server.wait(60)


def test_nginx_as_on_the_page_redirects_to_tls_and_forwards(clone, shell, port, tmp_path):
    """The page's files and curl lines, with a certificate of our own and other ports."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or pytest.skip("needs nginx")
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    (clone / "keys.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    http, https, name = free_port(), free_port(), "asr.example.org"
    files = "".join(re.findall(r"```nginx title.*?\n(.*?)```", page, re.DOTALL))
    for written, used in {
        "listen 80;": f"listen {http};", "listen 443 ": f"listen {https} ",
        "127.0.0.1:8000": f"127.0.0.1:{port}", f"/etc/letsencrypt/live/{name}": str(tmp_path),
    }.items():  # fmt: skip
        assert written in files
        files = files.replace(written, used)
    log = f"error_log {tmp_path}/error.log; pid {tmp_path}/pid; daemon off; master_process off; events {{}}\n"
    (tmp_path / "nginx.conf").write_text(f"{log}http {{ access_log off;\n{files}}}\n")
    words = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -addext subjectAltName=DNS:{name}"
    files = ["-keyout", tmp_path / "privkey.pem", "-out", tmp_path / "fullchain.pem"]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    ports = "".join(f"connect-to = {name}:{a}:127.0.0.1:{b}\n" for a, b in ((80, http), (443, https)))
    (tmp_path / ".curlrc").write_text(f"{ports}cacert = {tmp_path}/fullchain.pem\nnoproxy = *\n")
    servers = [start_server(clone, shell, port, with_keys=True)]
    try:
        words = [nginx, "-c", tmp_path / "nginx.conf"]
        subprocess.run([*words, "-t"], check=True)
        servers.append(subprocess.Popen(words))
        for line, printed in COMMAND.findall(page[page.index("## TLS") :])[:2]:
            line = line.replace("curl", "curl --retry-connrefused --retry 20", 1)
            run_env = shell | {"CURL_HOME": str(tmp_path)}
            done = subprocess.run(["bash", "-c", line], env=run_env, capture_output=True, text=True)
            assert done.stdout[:60] == printed[:60] != "", done.stderr
    finally:
        for server in servers:
            server.terminate()
            server.wait(60)


def start_server(clone: Path, shell: dict[str, str], port: int, with_keys: bool) -> subprocess.Popen:
    words = ["python", "-m", "ia3_speech.__main__", "serve", "--port", str(port)]
    words += ["--key-file", "keys.yaml"] * with_keys
    with (clone / "server.log").open("w") as log:
        server = subprocess.Popen(words, cwd=clone, env=shell, stderr=log)
    end = time.monotonic() + 600  # on a busy machine
    while server.poll() is None and time.monotonic() < end:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.1)
    raise AssertionError((clone / "server.log").read_text())
