"""The hearts that committed scores were measured on: the same names give the same hearts, for ever."""

import pytest
import torch

from kwise.data import sized

# name, frames, grid, pixels of each class, mean of the image, its projection on a fixed wave
PINNED = (
    ("heart-train-000000", 12, 64, (40589, 1534, 4546, 2483), 0.50486600, 2.436e-04),
    ("heart-val-000007", 12, 64, (43607, 1880, 1923, 1742), 0.41944290, -4.057e-04),
    ("heart-test-000042", 12, 64, (41275, 1556, 4912, 1409), 0.47262145, 3.295e-05),
    ("heart-demo-000003", 50, 80, (241436, 32374, 22820, 23370), 0.38573286, -9.324e-06),
    ("wide-train-000002", 12, 64, (40724, 3267, 3798, 1363), 0.65654809, -1.988e-04),
    ("wide-val-000008", 24, 64, (77560, 6238, 10416, 4090), 0.44467611, 2.649e-05),
    ("wide-test-000042", 12, 80, (68293, 2748, 2167, 3592), 0.29936969, -3.090e-05),
)


@pytest.mark.parametrize(("case", "n_frames", "side", "counts", "mean", "wave"), PINNED)
def test_a_name_gives_the_heart_it_always_gave(
    case: str, n_frames: int, side: int, counts: tuple[int, ...], mean: float, wave: float
) -> None:
    """Tolerances are those of another processor's arithmetic, far below any change of code."""
    name = "heart_wide" if case.startswith("wide") else "heart"
    scan = sized(name, n_frames, (side, side)).read(None, case)
    image = scan.image.double().flatten()
    found = torch.bincount(scan.labels.flatten(), minlength=4)
    assert (found - torch.tensor(counts)).abs().max() <= 2
    assert float(image.mean()) == pytest.approx(mean, rel=2e-6)
    fixed = torch.arange(image.numel(), dtype=torch.float64).mul(0.37).sin()
    assert float((image * fixed).mean()) == pytest.approx(wave, abs=1e-7)
