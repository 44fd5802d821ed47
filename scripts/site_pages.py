"""A hook of MkDocs: pages of the site that lie outside of docs/, and links to the repository's files.

README.md becomes the home page; each README.md and RESULTS.md of egs/, and each table of scripts/, becomes a
page. In all pages a link to such a file leads to its page, and a link to any other file leads to a copy of it
below `files/`. The line `<!-- exports -->` of docs/reference.md becomes an entry for each public name.
"""

import os
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

import ia3_speech

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
SECTIONS = {"Recipes": "egs/*/README.md", "Results": "egs/*/RESULTS.md", "Measurements": "scripts/*.md"}
FURTHER = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "ia3_speech/mini/MODEL_CARD.md": "measurements/mini.md",
    "scripts/mini/README.md": "measurements/making_mini.md",
    "scripts/mini/mini_base_trials.md": "measurements/mini_base_trials.md",
    "scripts/mini/choose_gate.md": "measurements/choose_gate.md",
    "ia3_speech/out_of_domain/README.md": "measurements/out_of_domain.md",
}


def outside_pages() -> dict[str, str]:
    """File of the repository → page of the site."""
    pages = dict(FURTHER)
    for section, pattern in SECTIONS.items():
        for file in sorted(ROOT.glob(pattern)):
            name = file.parent.name if file.parent.parent.name == "egs" else file.stem
            pages[file.relative_to(ROOT).as_posix()] = f"{section.lower()}/{name}.md"
    return pages


PAGES = outside_pages()
SOURCES = {page: source for source, page in PAGES.items()}


def on_config(config):
    for entry in config.nav:
        for section in SECTIONS.keys() & entry.keys():
            entry[section] = [page for page in SOURCES if page.startswith(f"{section.lower()}/")]
    return config


def on_files(files: Files, config) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page, config, files: Files) -> str:
    here = page.file.src_uri
    source = SOURCES.get(here, f"docs/{here}")
    if here == "reference.md":
        exports = [f"::: ia3_speech.{module}.{name}" for name, module in ia3_speech._PUBLIC.items()]
        markdown = markdown.replace("<!-- exports -->", "\n\n".join(exports))

    def link(match: re.Match) -> str:
        path = os.path.normpath(Path(source).parent / match[1])
        readme = f"{path}/README.md"
        target = PAGES.get(path) or PAGES.get(readme) or path.removeprefix("docs/")
        if target == path and not (ROOT / path).is_dir():  # a copy, as text where a browser would not show it
            shown = Path(path).suffix in (".svg", ".webp", ".png")
            target = f"files/{path}" if shown else f"files/{path}.txt"
            if (ROOT / path).is_file() and target not in files.src_uris:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / path)))
        elif (ROOT / path).is_dir() and target == path:
            return "]"  # a folder without a page: its name
        return f"]({os.path.relpath(target, Path(here).parent)}{match[2] or ''})"

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)
