"""The words most like a mistyped one, for error messages."""

import difflib
from collections.abc import Iterable

_MOST = 30  # words of a list that is still read


def nearest(word: str, names: Iterable[str]) -> str:
    """Up to three of `names` most like `word`, joined by commas; where none is, all of them, or the first
    few and how many more.
    """
    known = list(names)
    alike = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if not alike and len(known) > _MOST:
        alike = [*known[: _MOST - 1], f"... ({len(known) - _MOST + 1} more)"]
    return ", ".join(alike or known) or "nothing at all"


def one_of(word: str, names: Iterable[str]) -> str:
    """The same as words of a sentence: `disk`, or `one of disk, disk_plus`."""
    found = nearest(word, names)
    return f"one of {found}" if ", " in found else found
