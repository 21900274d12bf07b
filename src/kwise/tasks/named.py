"""Columns of a score row for named quantities: phenotypes or diseases, and what is said of each."""

from collections.abc import Iterable, Mapping

from torch import Tensor


def named_columns(names: Iterable[str], said: Mapping[str, Tensor]) -> list[dict[str, float]]:
    """One row per case: the values (b, n) of every word of `said` as columns `NAME_word`, name by name."""
    order, values = list(names), {word: tensor.cpu() for word, tensor in said.items()}
    n_cases = len(next(iter(values.values())))
    return [
        {f"{name}_{word}": float(x[case, i]) for i, name in enumerate(order) for word, x in values.items()}
        for case in range(n_cases)
    ]
