"""`kwise list` and `kwise info`: what there is, what a file holds."""

import inspect
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kwise.cli.parser import SECTIONS

if TYPE_CHECKING:
    from kwise.recipes import Recipe

WIDEST = 100  # frames drawn side by side
TALLEST = 64  # phase-encoding lines drawn, two in a row of text


def show_list(section: str | None) -> None:
    """Print names with their first sentence, of one section or of all."""
    for name in SECTIONS if section is None else (section,):
        print(name)
        entries = named(name)
        headings = {next(iter(kind)): heading for heading, kind in mask_kinds().items()}
        width = max(map(len, entries), default=0)
        for word, about in entries.items():
            if name == "masks" and word in headings:
                print(f" {headings[word]}:")
            print(f"  {word:<{width}}  {about}")


def mask_kinds() -> dict[str, Mapping[str, object]]:
    """What a family of samplings acquires, and which verbs take it -> its names."""
    from kwise.sampling import MASKS, PLANE_MASKS, TRAJECTORIES

    return {
        "lines, for every verb": MASKS,
        "points, for simulate, train and evaluate": PLANE_MASKS,
        "trajectories, for simulate, train and evaluate": TRAJECTORIES,
    }


def _sentences(things: Mapping[str, object]) -> dict[str, str]:
    return {name: first_sentence(thing) for name, thing in things.items()}


def named(section: str) -> dict[str, str]:
    """Name -> first sentence of everything in a section."""
    if section == "models":
        from kwise.models import MODELS

        return _sentences(MODELS)
    if section == "masks":
        return {name: about for kind in mask_kinds().values() for name, about in _sentences(kind).items()}
    if section == "datasets":
        from kwise.data import DATASETS

        return {name: data.about for name, data in DATASETS.items()}
    if section == "phases":
        from kwise.simulate import PHASES

        return _sentences(PHASES)
    from kwise.recipes import RECIPES

    return {name: first_sentence(make) or _in_words(make()) for name, make in RECIPES.items()}


def _in_words(recipe: "Recipe") -> str:
    rates = ", ".join(f"{rate:g}" for rate in recipe.acquisition.accelerations)
    return f"{recipe.model} trained on {recipe.dataset} at R = {rates}"


def first_sentence(thing: object) -> str:
    """The first sentence of a docstring, on one line; of a partial, with the numbers it fixes."""
    if isinstance(thing, partial):
        fixed = [f"{x:g}" for x in (*thing.args, *thing.keywords.values()) if isinstance(x, (int, float))]
        return first_sentence(thing.func) + (f" (at {', '.join(fixed)})" if fixed else "")
    text = " ".join((inspect.getdoc(thing) or "").split())
    return text.split(". ")[0].rstrip(".")


def show_info(path: Path, slices: int | slice | None = None) -> None:
    """Print what any file kwise reads, or a checkpoint folder, holds."""
    if (path / "config.json").is_file():
        _print_pairs(checkpoint_facts(path))
        return
    from kwise.cli.describing import cohort_facts, facts_and_mask, is_cohort

    if is_cohort(path):
        _print_pairs(cohort_facts(path))
        return
    facts, mask = facts_and_mask(path, slices)
    if mask is None:
        _print_pairs(facts)
        return
    lines = mask.any(dim=-1)
    _print_pairs(facts | mask_facts(mask, lines))
    middle = len(lines) // 2
    where = "" if len(lines) == 1 else f", slice {middle + 1} of {len(lines)}"
    print(f"mask{where}: ky down, frames across")
    print(draw_lines(lines[middle], plain=not speaks_blocks()))


def checkpoint_facts(folder: Path) -> dict[str, str]:
    """What a checkpoint folder holds."""
    from kwise.checkpoint import load_checkpoint
    from kwise.models import MODELS
    from kwise.predict import fingerprint

    loaded = load_checkpoint(folder, MODELS)
    weights = sum(p.numel() for p in loaded.model.parameters())
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    facts = {
        "checkpoint": str(folder),
        "model": loaded.name,
        "parameters": f"{weights:,}",
        "size": f"{size:.1f} MB",
    }
    facts["weights (SHA-256)"] = fingerprint(folder)
    told = {f"option {key}": str(value) for key, value in loaded.options.items()}
    return facts | told | {key: str(value) for key, value in loaded.preprocessing.items()}


def mask_facts(mask: Tensor, lines: Tensor) -> dict[str, str]:
    """Achieved R, lines per frame and ACS of a mask (z, t, ky, kx) whose acquired `lines` are (z, t, ky)."""
    counts = lines.sum(dim=-1)
    low, high = int(counts.min()), int(counts.max())
    return {
        "acceleration achieved": f"{mask.numel() / int(mask.sum()):.2f}",
        "lines a frame": f"{low if low == high else f'{low} to {high}'} of {lines.shape[-1]}",
        "acs": _acs_words(mask, lines),
    }


def _acs_words(mask: Tensor, lines: Tensor) -> str:
    if bool((mask.any(dim=-1) == mask.all(dim=-1)).all()):
        return f"{acs_of(lines)} central lines in every frame"
    from kwise.coils import acs_shape

    ky, kx = acs_shape(mask)
    return f"{ky} x {kx} central samples (ky, kx)"


def acs_of(lines: Tensor) -> int:
    """Lines around DC that every frame of (z, t, ky) acquired without a gap."""
    always = lines.flatten(0, -2).all(dim=0)
    centre = len(always) // 2
    if not bool(always[centre]):
        return 0
    gaps = (~always).nonzero().flatten()
    below, above = gaps[gaps < centre], gaps[gaps > centre]
    start = int(below.max()) + 1 if len(below) else 0
    end = int(above.min()) if len(above) else len(always)
    return end - start


def draw_lines(lines: Tensor, plain: bool = False) -> str:
    """A mask (t, ky) as text, ky down and frames across, two lines a row by half blocks; thinned where it is
    large.
    """
    picture = _thinned(_thinned(lines.T, TALLEST).T, WIDEST)  # (t, ky)
    if plain:
        return "\n".join("".join("#" if on else "." for on in row) for row in picture.T.tolist())
    if picture.shape[1] % 2:
        picture = torch.nn.functional.pad(picture, (0, 1))
    pairs = picture.T.reshape(-1, 2, picture.shape[0]).tolist()
    blocks = {(False, False): "·", (True, False): "▀", (False, True): "▄", (True, True): "█"}
    return "\n".join("".join(blocks[pair] for pair in zip(upper, lower)) for upper, lower in pairs)


def _thinned(lines: Tensor, most: int) -> Tensor:
    """At most so many rows: neighbours are joined, on where any is on."""
    step = -(-len(lines) // most)
    return torch.stack([part.any(dim=0) for part in lines.split(step)])


def speaks_blocks() -> bool:
    """Whether the terminal can show half blocks."""
    return "utf" in (sys.stdout.encoding or "").lower()


def _print_pairs(facts: Mapping[str, str]) -> None:
    width = max(map(len, facts))
    for key, value in facts.items():
        print(f"{key:<{width}}  {value}")
