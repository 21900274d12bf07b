"""Hearts as files hold them, as a data set: to train what has to read real ones. Nothing is stored."""

from functools import partial
from pathlib import Path

from kwise.data import heart
from kwise.types import Scan

cases = partial(heart.cases, kind="wide")


def read(root: Path | None, case: str, *, n_frames: int = 12, shape: tuple[int, int] = (64, 64)) -> Scan:
    """The beating heart of that name: image and labels (1, t, y, x); any name that begins with wide- is
    one.
    """
    from kwise.phantom import wide_heart_scan

    if not case.startswith("wide-"):
        raise ValueError(f"reading a wide heart: got case {case!r}; wanted a name such as wide-test-000000")
    return wide_heart_scan(case, n_frames=n_frames, shape=shape)
