"""What README.md says about the code is so: its tree lists every file with a sentence, its example runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kwise

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def listed_files() -> dict[str, str]:
    """Path below src/kwise -> its sentence, for every file of the tree."""
    tree = README.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    found, folder = {}, ""
    for line in tree.splitlines():
        if match := re.fullmatch(r"  (\w+)/", line):
            folder = match[1] + "/"
        elif match := re.fullmatch(r"(  |    )(\w+\.py)\s+(.+)", line):
            folder = folder if len(match[1]) == 4 else ""
            found[folder + match[2]] = match[3]
    return found


def test_the_tree_lists_every_file_and_no_other() -> None:
    there = {
        path.relative_to(ROOT / "src" / "kwise").as_posix() for path in (ROOT / "src" / "kwise").rglob("*.py")
    }
    listed = set(listed_files())
    assert not there - listed, f"README's tree misses {sorted(there - listed)}"
    assert not listed - there, f"README's tree lists files that are not there: {sorted(listed - there)}"


def test_every_file_has_a_sentence() -> None:
    assert all(len(sentence.split()) >= 3 for sentence in listed_files().values())


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert targets and all((ROOT / target).exists() for target in targets)


def test_the_example_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    scan = kwise.simulate_scan(kwise.heart_scan("heart-test-000000"), generator=torch.Generator())
    assert scan.kspace is not None
    kspace = scan.kspace.numpy().copy()
    kspace[..., 1:24:2, :] = kspace[..., 41::2, :] = 0  # lines that nobody acquired
    np.save(tmp_path / "kspace.npy", kspace)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    found = names["found"]
    assert found.areas["LV pool"].shape == kspace.shape[2:3] and found.labels.shape == kspace.shape[1:]
    assert 0 < found.ejection_fraction < 90 and isinstance(found.cautions, tuple) and found.ed != found.es
