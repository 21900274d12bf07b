"""kwise: answers straight from k-space.

The names below are all a newcomer needs; each is imported when first used, so `import kwise` costs nothing.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "Scan": "types",
    "Measurement": "types",
    "Samples": "types",
    "Query": "types",
    "Targets": "types",
    "Prediction": "types",
    "fft2c": "fourier",
    "ifft2c": "fourier",
    "zero_filled": "operator",
    "gather_samples": "coordinates",
    "MASKS": "sampling",
    "draw_mask": "sampling",
    "simulate_scan": "simulate",
    "heart_scan": "phantom",
    "DATASETS": "data",
    "MODELS": "models",
    "TASKS": "tasks",
    "RECIPES": "recipes",
    "load_model": "predict",
    "answer": "predict",
    "predict_file": "predict",
}
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"looking up kwise.{name}: got no such name; wanted one of {list(_HOMES)}")
    return getattr(import_module(f"kwise.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
