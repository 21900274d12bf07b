"""Optional libraries: imported where they are needed, and where missing one line says what to install."""

from collections.abc import Sequence
from importlib.util import find_spec


def check_extra(doing: str, libraries: Sequence[str], extra: str) -> None:
    """ValueError that names the extra of kwise to install where one of its libraries is missing."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        wanted = f"it: pip install 'kwise[{extra}]'"
        raise ValueError(f"{doing}: got no {' and no '.join(missing)} in this installation; wanted {wanted}")
