"""Links between the Markdown files of the repository lead to files and headings that are there."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
FOLDERS = ("configs", "eval", "scripts", "tests", "train_code")
PAGES = [
    *(path for pattern in ("*.md", ".github/*.md", "grpo_sft_data/*.md") for path in ROOT.glob(pattern)),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")),
]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives a page's headings: lower case, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for link in LINK.findall(text):
        name, _, anchor = unquote(link).partition("#")
        if "://" in name:
            continue
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert not broken
