"""What the scanner's ways add: spokes against lines at equal samples, and several coils against one.

Pairs of recipes that differ in one thing, on 64 x 64 x 12 phantom hearts at R = 8 and 16, about 250
core-seconds each. Coils: 8 around the body, compressed to 4 virtual ones by what was acquired, maps not told;
one coil sees everything. The SNR is that of the fully sampled image, all coils joined, in either case: so
coils win by what they encode, not by more signal.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from kwise.data.loader import Acquisition
from kwise.recipes.recipe import Recipe
from kwise.tasks import Reconstruction
from kwise.training import Stage

ACCELERATIONS = (8.0, 16.0)
ONE_COIL = Acquisition(accelerations=ACCELERATIONS)
FOUR_COILS = replace(ONE_COIL, n_coils=8, virtual_coils=4)


def _segmentation(
    name: str, model: str, steps: int, acquisition: Acquisition, options: Mapping[str, object]
) -> Recipe:
    stage = Stage(name="net", steps=steps, learning_rate=3e-3, matrix_rate=0.02, save_every=100)
    return Recipe(
        name, model, options=options, acquisition=acquisition, stages=(stage,), batch_size=4, frames=2
    )


def _points(name: str, mask: str) -> Recipe:
    """DiSK+ reading single samples, as they lie."""
    return _segmentation(name, "disk_plus", 1100, replace(ONE_COIL, masks=(mask,)), {"tokens": "points"})


def disk_plus_lines_raw() -> Recipe:
    """DiSK+ on the samples of whole lines on the grid."""
    return _points("disk_plus_lines_raw", "gaussian_lines")


def disk_plus_radial_raw() -> Recipe:
    """DiSK+ on golden-angle spokes, as many samples."""
    return _points("disk_plus_radial_raw", "golden_angle_radial")


def disk_plus_spiral_raw() -> Recipe:
    """DiSK+ on golden-angle spiral arms, as many samples."""
    return _points("disk_plus_spiral_raw", "spiral")


def harmonic_unet_one_coil_raw() -> Recipe:
    """The harmonic U-Net, every ky line alone, with one coil."""
    return _segmentation("harmonic_unet_one_coil_raw", "harmonic_unet", 900, ONE_COIL, {"n_passes": 0})


def harmonic_unet_four_coils_raw() -> Recipe:
    """The same with four virtual coils of eight."""
    recipe = harmonic_unet_one_coil_raw()
    return replace(recipe, name="harmonic_unet_four_coils_raw", acquisition=FOUR_COILS)


def d5c5_one_coil_raw() -> Recipe:
    """D5C5 at half its width: images of single frames, one coil."""
    # One virtual coil of one is that coil, and the reference a magnitude, as with four.
    acquisition = replace(ONE_COIL, virtual_coils=1, reference=True)
    stage = Stage(steps=800, learning_rate=1e-3, save_every=100)
    return Recipe(
        "d5c5_one_coil_raw",
        "d5c5",
        options={"channels": 32},
        acquisition=acquisition,
        task=Reconstruction(kind="l1"),
        stages=(stage,),
        batch_size=4,
        frames=1,
    )


def d5c5_four_coils_raw() -> Recipe:
    """The same with four virtual coils of eight, joined by SENSE data consistency."""
    recipe = d5c5_one_coil_raw()
    return replace(recipe, name="d5c5_four_coils_raw", acquisition=replace(FOUR_COILS, reference=True))


SAMPLING = (disk_plus_lines_raw, disk_plus_radial_raw, disk_plus_spiral_raw)
COILS = (harmonic_unet_one_coil_raw, harmonic_unet_four_coils_raw)
IMAGES = (d5c5_one_coil_raw, d5c5_four_coils_raw)


def raw_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """All recipes of these comparisons by name."""
    return {make.__name__: make for make in (*SAMPLING, *COILS, *IMAGES)}
