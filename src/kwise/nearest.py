"""The words most like a mistyped one, for error messages."""

import difflib
from collections.abc import Iterable

_MOST = 12  # words of a list that nobody has to scroll through


def nearest(word: str, names: Iterable[str]) -> str:
    """Up to three of `names` most like `word`, joined by commas; where none is, all of them, or the first
    few.
    """
    known = list(names)
    alike = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return ", ".join(alike or known[:_MOST]) or "nothing at all"


def one_of(word: str, names: Iterable[str]) -> str:
    """The same as words of a sentence: `disk`, or `one of disk, disk_plus`."""
    found = nearest(word, names)
    return f"one of {found}" if ", " in found else found
