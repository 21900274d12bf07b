"""The words most like a mistyped one, for error messages."""

import difflib
from collections.abc import Iterable

_MOST = 30  # words of a list that is still read


def nearest(word: str, names: Iterable[str]) -> str:
    """Up to three of `names` that hold `word` or are most like it, joined by commas; where none is, all of
    them, or the first few and how many more.
    """
    known = list(names)
    holding = [name for name in known if word and word in name]
    alike = list(dict.fromkeys([*holding, *difflib.get_close_matches(word, known, n=3, cutoff=0.6)]))[:3]
    if not alike and len(known) > _MOST:
        alike = [*known[: _MOST - 1], f"... ({len(known) - _MOST + 1} more)"]
    return ", ".join(alike or known) or "nothing at all"


def one_of(word: str, names: Iterable[str]) -> str:
    """The same as words of a sentence: `disk`, or `one of disk, disk_plus`."""
    found = nearest(word, names)
    return f"one of {found}" if ", " in found else found
