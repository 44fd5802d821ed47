"""run_examples.py: outputs of a page's commands, without the speech and the adapters that it makes."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = """# A page

```python
print(1 + 1)
```

```console
$ printf 'b\\ta\\n' \\
  | tee out.txt
old
$ python example.py
$ ia3-speech --version >/dev/null && echo "to stderr" >&2
```

```bash
$ not run
```
"""
WRITTEN = PAGE.replace("old\n", "b   a\n").replace("example.py\n", "example.py\n2\n")
WRITTEN = WRITTEN.replace(">&2\n", ">&2\nto stderr\n")


@pytest.fixture
def run_examples(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import run_examples

    monkeypatch.setattr(run_examples, "make_speech", lambda folder: None)
    monkeypatch.setattr(run_examples, "train_adapters", lambda folder: None)
    return run_examples


def test_outputs_are_written_below_their_commands(run_examples, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert run_examples.main(page, check=True) == 1 and page.read_text() == PAGE
    said = capsys.readouterr().err
    assert "\n-old\n" in said and said.endswith(f"{page}: an output has changed\n")
    assert run_examples.main(page) == 0 and page.read_text() == WRITTEN
    assert run_examples.main(page, check=True) == 0
