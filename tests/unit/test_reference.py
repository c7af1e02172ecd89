"""The documents say what the code says: settings, tables, error classes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from v2d_spark.udfs.vocabulary import ERROR_CLASSES

ROOT = Path(__file__).resolve().parents[2]


def test_the_reference_is_what_the_code_declares() -> None:
    made = subprocess.run(
        [sys.executable, "docs/make_reference.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    written = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert written == made, "run: .venv/bin/python docs/make_reference.py > docs/reference.md"


def test_every_error_class_is_explained() -> None:
    told = (ROOT / "docs" / "downloading.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", told, re.MULTILINE)
    assert {name: passes == "yes" for name, passes in rows} == ERROR_CLASSES


def test_links_between_documents_lead_somewhere() -> None:
    for document in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
            assert "://" in target or (document.parent / target).exists(), f"{document.name} links to {target}"
