"""Where a recipe's weights begin: drawn from its seed, a checkpoint of the same model or of one with a
shallower U-Net, or the encoders of others.
"""

from collections.abc import Mapping, Sequence
from inspect import signature

import torch
from torch import nn

from kwise.checkpoint import Loaded, find_checkpoint, load_checkpoint
from kwise.models import MODELS
from kwise.nearest import one_of
from kwise.nn.conv import UNet
from kwise.recipes.overrides import check_options
from kwise.recipes.recipe import Recipe
from kwise.seeding import seed_of

ENCODERS = ("kspace_encoder", "image_encoder")  # parts that one model may hand to another


def build(recipe: Recipe) -> nn.Module:
    """The recipe's model, its first weights drawn from the recipe's seed; from `init_from` where that is
    given.

    One checkpoint of the very model and options gives all of its weights; one whose U-Net has fewer levels,
    all but the deepest. Others give their encoders: every part of ENCODERS that both have. "{seed}" in a
    folder's name is the recipe's own.
    ValueError where none fits.
    """
    if recipe.model not in MODELS:
        raise ValueError(f"building a model: got {recipe.model!r}; wanted {one_of(recipe.model, MODELS)}")
    check_options(MODELS[recipe.model], recipe.options, f"building {recipe.model}")
    folders = starts(recipe)
    if len(folders) == 1:
        loaded = load_checkpoint(find_checkpoint(folders[0]), MODELS)
        if loaded.name == recipe.model:
            return _from_same_model(recipe, loaded, folders)
    return _with_encoders(recipe, folders)


def starts(recipe: Recipe) -> list[str]:
    """The checkpoint folders, run folders or names of shipped checkpoints that a recipe begins with."""
    named = (recipe.init_from,) if isinstance(recipe.init_from, str) else recipe.init_from or ()
    return [folder.replace("{seed}", str(recipe.seed)) for folder in named]


def _from_same_model(recipe: Recipe, loaded: Loaded, folders: Sequence[str]) -> nn.Module:
    had, wished = (_filled(recipe.model, options) for options in (loaded.options, recipe.options))
    if had == wished:
        return loaded.model
    if any(hasattr(loaded.model, part) for part in ENCODERS):  # another head on it
        return _with_encoders(recipe, folders)
    if _deepens(loaded, recipe):
        return _deepened(recipe, loaded.model)
    other = [key for key in had if had[key] != wished[key]]
    got, want = (", ".join(f"{key} {_word(x[key])}" for key in other) for x in (had, wished))
    fitting = " ".join(f"options.{key}={_word(had[key])}" for key in other)
    wanted = f"{want}, or --set {fitting}"
    raise ValueError(f"starting {recipe.name}: got a checkpoint with {got}; wanted {wanted}")


def _filled(model: str, options: Mapping[str, object]) -> dict[str, object]:
    """The options of a model with its defaults for those left out."""
    return {name: own.default for name, own in signature(MODELS[model]).parameters.items()} | dict(options)


def _word(value: object) -> str:
    """A value as `--set` reads it, without spaces or brackets, which a shell would read itself."""
    return ",".join(map(str, value)) if isinstance(value, tuple) and len(value) > 1 else repr(value)


def _deepens(loaded: Loaded, recipe: Recipe) -> bool:
    """Whether nothing but the number of levels of a part that is a U-Net differs."""
    had, wished = dict(loaded.options), dict(recipe.options)
    had.pop("channels", None)
    channels = wished.pop("channels", None)
    nets = [part for part in loaded.model.children() if isinstance(part, UNet)]
    return (
        had == wished
        and isinstance(channels, tuple)
        and any(channels[: net.levels] == net.channels for net in nets)
    )


def _deepened(recipe: Recipe, shallower: nn.Module) -> nn.Module:
    model = _drawn(recipe)
    nets = {name: part for name, part in model.named_children() if isinstance(part, UNet)}
    for name, part in nets.items():
        part.begin_from(getattr(shallower, name))
    rest = {key: x for key, x in shallower.state_dict().items() if key.split(".")[0] not in nets}
    model.load_state_dict({**model.state_dict(), **rest})
    return model


def _with_encoders(recipe: Recipe, folders: Sequence[str]) -> nn.Module:
    model = _drawn(recipe)
    for folder in folders:
        _take_encoders(model, folder, recipe)
    return model


def _drawn(recipe: Recipe) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("weights", recipe.seed))
        return MODELS[recipe.model](**recipe.options)


def _take_encoders(model: nn.Module, folder: str, recipe: Recipe) -> None:
    loaded = load_checkpoint(find_checkpoint(folder), MODELS)
    doing = f"starting {recipe.name}"
    shared = [name for name in ENCODERS if hasattr(model, name) and hasattr(loaded.model, name)]
    if not shared:
        got = f"a checkpoint of {loaded.name} in {folder}, with {_has(loaded.model)}"
        raise ValueError(f"{doing}: got {got}; wanted {recipe.model}, or a model with {_has(model)}")
    for name in shared:
        try:
            getattr(model, name).load_state_dict(getattr(loaded.model, name).state_dict())
        except RuntimeError:
            raise ValueError(
                f"{doing}: got the {name} of a {loaded.name} in {folder} with options {loaded.options}; "
                f"wanted one of the same sizes and tokens as {dict(recipe.options)}"
            ) from None


def _has(model: nn.Module) -> str:
    parts: Sequence[str] = [name for name in ENCODERS if hasattr(model, name)]
    return " and ".join(parts) or "no encoder to share"
