"""recipes/utils/run keeps the contract of Kaldi's run.pl, so that queue.pl can take its place."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "recipes/utils/run"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([RUN, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_log_of_one_job(tmp_path):
    done = run("log/x.log", "echo", "two words", "one", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    log = (tmp_path / "log/x.log").read_text()
    day = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}"
    assert re.fullmatch(
        rf'# echo "two words" one\n# Started at {day}\n#\ntwo words one\n'
        rf"# Accounting: time=\d+ threads=1\n# Ended \(code 0\) at {day}, elapsed time \d+ seconds\n",
        log,
    )


def test_jobs_are_numbered_in_log_and_command_and_options_of_a_grid_accepted(tmp_path):
    options = ["--mem", "4G", "--gpu", "1", "--num-threads", "6", "--max-jobs-run", "2", "--config", "c.conf"]
    words = [*options, "JOB=3:5", "x.JOB.log", "echo", "JOB", "|", "cat", ">", "out.JOB"]
    assert run(*words, cwd=tmp_path).returncode == 0
    assert [(tmp_path / f"out.{job}").read_text() for job in (3, 4, 5)] == ["3\n", "4\n", "5\n"]
    assert sorted(path.name for path in tmp_path.glob("*.log")) == ["x.3.log", "x.4.log", "x.5.log"]
    assert " threads=6\n" in (tmp_path / "x.3.log").read_text()
    assert run("LMWT=7", "score.LMWT.log", "echo", "LMWT", cwd=tmp_path).returncode == 0
    assert "\n7\n" in (tmp_path / "score.7.log").read_text()


def test_a_failed_job_fails_the_call_and_names_its_log(tmp_path):
    done = run("JOB=1:3", "log/x.JOB.log", "seq", "1", "25", "&&", "test", "JOB", "-ne", "2", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.splitlines() == [
        *map(str, range(14, 26)), "run: 1 / 3 failed, log is in log/x.*.log",
    ]  # fmt: skip
    for job, code in ((2, 1), (3, 0)):
        assert f"# Ended (code {code}) at " in (tmp_path / f"log/x.{job}.log").read_text()
    done = run("JOB=4", "x.JOB.log", "exit", "3", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "run: job failed, log is in x.4.log\n")
    assert "# Ended (code 3) at " in (tmp_path / "x.4.log").read_text()


def test_jobs_of_a_real_slurm(tmp_path):
    """As `slurm`, each job is one of srun, with what it needs; the contract stays."""
    folders = f"{os.environ['PATH']}:/usr/sbin"
    if not all(shutil.which(program, path=folders) for program in ("slurmctld", "munged")) or os.getuid():
        pytest.skip("no Slurm here (apt-get install slurm-wlm munge), or not root")
    command = ["bash", RUN.parents[2] / "scripts/slurm.sh", RUN.with_name("slurm")]
    command += ["--mem", "1G", "--gpu", "0", "--num-threads", "2", "JOB=1:3", "log/x.JOB.log"]
    command += ["echo", "$SLURM_CPUS_PER_TASK", "two words", "&&", "test", "JOB", "-ne", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.endswith("slurm: 1 / 3 failed, log is in log/x.*.log\n")
    for job, code in ((1, 0), (2, 1), (3, 0)):
        log = (tmp_path / f"log/x.{job}.log").read_text()
        assert "\n2 two words\n" in log and "# Accounting: time=" in log
        assert f"# Ended (code {code}) at " in log


def test_refusals(tmp_path):
    for arguments, message in (
        ("JOB=1:2 x.log true", "must have JOB in its name"),
        ("JOB=2:1 x.JOB.log true", "bad range of jobs JOB=2:1"),
        ("--max-jobs-run two x.log true", "--max-jobs-run is two"),
    ):
        done = run(*arguments.split(), cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith("run: ") and message in done.stderr


def test_a_terminated_call_ends_its_job(tmp_path):
    process = subprocess.Popen([RUN, "x.log", "sleep", "60"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "x.log"
    while not (log.exists() and "Started" in log.read_text()):
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert "run: ended by signal 15" in process.communicate(timeout=20)[1]
    assert process.returncode == 128 + 15


def test_the_log_of_the_work_outlives_a_run_that_finds_it_up_to_date(tmp_path):
    assert run("x.log", "echo", "work", cwd=tmp_path).returncode == 0
    before = (tmp_path / "x.log").read_text(), (tmp_path / "x.log").stat().st_mtime_ns
    done = run("x.log", "echo", "exp/a: up to date", cwd=tmp_path)
    assert done.stdout == "    exp/a: up to date\n"
    assert ((tmp_path / "x.log").read_text(), (tmp_path / "x.log").stat().st_mtime_ns) == before
    run("x.log", "echo", "other work", cwd=tmp_path)
    assert "\nother work\n" in (tmp_path / "x.log").read_text()


def test_on_a_terminal_a_training_shows_its_progress_there(tmp_path):
    """`script` gives run a terminal; the job's own stderr is its log."""
    code = "import time; from ia3_speech.common.progress import Progress\n"
    code += "with Progress(None, 'bar') as bar: time.sleep(2)\nprint(bar.is_drawn)"
    (tmp_path / "job.py").write_text(code)
    line = f"stty cols 80 rows 9; PYTHONPATH={RUN.parents[2]} {RUN} x.log {sys.executable} job.py"
    done = subprocess.run(["script", "-qec", line, "/dev/null"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, (tmp_path / "x.log").read_text()
    assert "\nbar: 00:01\n" in done.stdout
    assert (tmp_path / "x.log").read_text().partition("#\n")[2].startswith("True\n# Acc")
