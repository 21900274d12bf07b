"""A trained model on disk: `model.safetensors` (weights), `config.json` (which model), `preprocessing.json`
(its input).

Weights are plain tensors, nothing is ever unpickled. A folder appears complete or not at all.
"""

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kwise.nearest import one_of
from kwise.uncertainty import Calibration, read_calibration

FORMAT, VERSION = "kwise checkpoint", 1
WEIGHTS, CONFIG, PREPROCESSING = "model.safetensors", "config.json", "preprocessing.json"
SHIPPED = Path(str(files("kwise"))) / "weights"  # checkpoints that come with kwise, a folder each
BEST = "demo"  # the one of them that answers where none is named


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory: the model in eval mode on the CPU, its name and options, the preprocessing of
    its input.

    `calibration` gives its answers intervals; None where these weights were never calibrated.
    """

    model: nn.Module
    name: str
    options: dict[str, Any]
    preprocessing: dict[str, Any]
    calibration: Calibration | None = None


def save_checkpoint(
    folder: Path | str,
    model: nn.Module,
    name: str,
    options: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
) -> None:
    """Write a checkpoint folder in one step, in place of an older checkpoint there.

    `name` is the model's word in its registry, `options` its constructor's keywords, `preprocessing` what
    was done to its input; both mappings must be JSON. Errors: a folder that holds something else.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / CONFIG).is_file() and any(folder.iterdir()):
        raise ValueError(
            f"saving checkpoint {folder}: got a folder of other files; wanted a new or empty folder"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        _write_files(new, model, {"model": name, "options": dict(options)}, preprocessing)
        _swap(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def find_checkpoint(folder: Path | str | None = None) -> Path:
    """The folder itself where it holds weights, the checkpoint within a run folder, or the one that comes
    with kwise under that name (None: the best of them); another folder that is there, for `load_checkpoint`
    to say what it lacks; else ValueError.
    """
    folder = Path(BEST if folder is None else folder)
    for place in (folder, folder / "checkpoint"):
        if (_settled(place) / WEIGHTS).is_file():
            return place
    if (SHIPPED / folder / WEIGHTS).is_file():
        return SHIPPED / folder
    if folder.is_dir():
        return folder
    names = ", ".join(place.name for place in all_shipped())
    raise ValueError(f"looking for a checkpoint: got no folder {folder}; wanted one, or {names}")


def all_shipped() -> list[Path]:
    """The folders of all checkpoints that come with kwise, by name."""
    return sorted(file.parent for file in SHIPPED.glob(f"*/{WEIGHTS}"))


def load_checkpoint(folder: Path | str, registry: Mapping[str, type[nn.Module]]) -> Loaded:
    """Rebuild the model of a checkpoint folder; `registry` gives the class of every model name.

    Errors, as one line each: a missing or broken file, an unknown model or option, weights of another model.
    The global random state is left as it was.
    """
    doing = f"loading checkpoint {folder}"
    folder = _settled(Path(folder))
    config, preprocessing = _read_json(folder / CONFIG, doing), _read_json(folder / PREPROCESSING, doing)
    if config.get("format") != FORMAT or config.get("version") != VERSION:
        got = f"{config.get('format')!r} version {config.get('version')!r}"
        raise ValueError(f"{doing}: got {got} in {CONFIG}; wanted {FORMAT!r} version {VERSION}")
    name, options = str(config.get("model")), _tuples(config.get("options"))
    if name not in registry:
        raise ValueError(f"{doing}: got model {name!r}; wanted {one_of(name, registry)}")
    if not isinstance(options, dict):
        raise ValueError(f"{doing}: got options {options!r} in {CONFIG}; wanted an object of option names")
    _check_options(registry[name], options, f"{doing}: building {name}")
    weights = _read_weights(folder / WEIGHTS, doing)
    model = _build(registry[name], options, f"{doing}: building {name}")
    _check_weights(model.state_dict(), weights, f"{doing} as {name}")
    model.load_state_dict(weights)
    calibration = read_calibration(folder, fingerprint(folder))
    return Loaded(model.eval(), name, options, preprocessing, calibration)


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a checkpoint's weights: which weights these are."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def fingerprint(folder: Path) -> str:
    """The first 12 hexadecimal digits of `weights_sha256`, for people."""
    return weights_sha256(folder)[:12]


def _write_files(
    folder: Path, model: nn.Module, config: Mapping[str, Any], preprocessing: Mapping[str, Any]
) -> None:
    from safetensors.torch import save_file

    # Cloned, because the format refuses tensors that share memory.
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    _write_json(folder / CONFIG, {"format": FORMAT, "version": VERSION, **config})
    _write_json(folder / PREPROCESSING, preprocessing)


def _previous(folder: Path) -> Path:
    """Where the older checkpoint rests for the moment between two renames."""
    return folder.with_name(f".{folder.name}.previous")


def _swap(new: Path, folder: Path) -> None:
    """Put `new` where `folder` is. A crash in between leaves the older one where `_settled` finds it."""
    previous = _previous(folder)
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    new.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def _settled(folder: Path) -> Path:
    previous = _previous(folder.absolute())
    return previous if not folder.exists() and previous.exists() else folder


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"writing {path.name}: got {error}; wanted JSON values only") from None
    with path.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def _read_json(path: Path, doing: str) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{doing}: got no {path.name}; wanted {WEIGHTS}, {CONFIG} and {PREPROCESSING}")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{doing}: got a broken {path.name} ({error}); wanted JSON") from None
    if not isinstance(content, dict):
        raise ValueError(f"{doing}: got {type(content).__name__} in {path.name}; wanted a JSON object")
    return content


def _read_weights(path: Path, doing: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{doing}: got no {path.name}; wanted {WEIGHTS}, {CONFIG} and {PREPROCESSING}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{doing}: got a broken {path.name} ({error}); wanted a safetensors file") from None


def _tuples(value: Any) -> Any:
    """JSON knows no tuples, models' options know no lists."""
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    if isinstance(value, dict):
        return {key: _tuples(v) for key, v in value.items()}
    return value


def _check_options(model_class: type[nn.Module], options: Mapping[str, Any], doing: str) -> None:
    known = list(inspect.signature(model_class).parameters)
    for key in options:
        if key not in known:
            raise ValueError(f"{doing}: got option {key!r}; wanted {one_of(key, known)}")


def _build(model_class: type[nn.Module], options: Mapping[str, Any], doing: str) -> nn.Module:
    try:
        with torch.random.fork_rng(devices=[]):
            return model_class(**options)
    except TypeError as error:
        raise ValueError(
            f"{doing}: got options {dict(options)} ({error}); wanted values of their types"
        ) from None


def _check_weights(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], doing: str) -> None:
    """The weights must have the names and shapes of this very model."""
    missing, extra = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    if missing or extra:
        found = f"{len(missing)} tensors missing and {len(extra)} unknown (e.g. {(missing + extra)[0]!r})"
        raise ValueError(
            f"{doing}: got {found}; wanted this model's weights, the checkpoint is from another model"
        )
    for key, value in wanted.items():
        if value.shape != got[key].shape:
            raise ValueError(
                f"{doing}: got {key!r} of shape {tuple(got[key].shape)}; wanted {tuple(value.shape)}, "
                "the checkpoint is from another model or other options"
            )
