"""Types of options, with errors that say what was wanted."""

import argparse
import math
from collections.abc import Callable, Sequence

from kwise.nearest import one_of

# What adds a verb: its name, what it does, an example, the call -> its parser.
Verb = Callable[[str, str, str, Callable[[argparse.Namespace], None]], argparse.ArgumentParser]


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted a number above 0")
    return value


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted a whole number from 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted a whole number from 0")
    return int(text)


def offset(text: str) -> int:
    """A whole number, below 0 too."""
    if not text.removeprefix("-").isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted a whole number")
    return int(text)


def slices(text: str) -> int | slice:
    """One slice, from 0, or a range of them as Python writes it: 3, 2:5, ::2."""
    try:
        parts = [int(part) if part else None for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) == 1 and parts[0] is not None and parts[0] >= 0:
        return parts[0]
    if not 2 <= len(parts) <= 3:
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted a slice such as 3, or a range such as 2:5")
    return slice(*parts)


def positive_or_none(text: str) -> float | None:
    """A number above 0, or the word none."""
    return None if text == "none" else positive(text)


def word_of(names: Sequence[str], text: str) -> str:
    """One of some names."""
    if text not in names:
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted {one_of(text, names)}")
    return text
