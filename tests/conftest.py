"""Fixtures shared by the tests: small complex tensors, ragged measurements, and the real data if any."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kwise.checkpoint import save_checkpoint
from kwise.models import MODELS
from kwise.seeding import generator
from kwise.serve.limits import Limits
from kwise.serve.worker import Desk
from kwise.types import Measurement

torch.set_num_threads(1)


def random_complex(*shape: int, seed: object = 0) -> Tensor:
    """Complex normal noise of any shape, the same for the same seed."""
    return torch.randn(*shape, dtype=torch.complex64, generator=generator("test", seed))


def ragged_measurement(
    b: int = 2, c: int = 1, z: int = 1, t: int = 3, ky: int = 8, kx: int = 8, seed: object = 0
) -> Measurement:
    """A random measurement whose cases and frames acquired different numbers of lines, DC always there."""
    lines = torch.rand(b, z, t, ky, generator=generator("lines", seed)) < 0.3
    lines[..., ky // 2] = True
    lines[0, ..., ky // 2 - 1] = True
    lines[0, 0, 0, :3] = True  # case 0 has more samples than any other: batches stay ragged
    lines[-1, 0, 0, 0] = False
    mask = lines.unsqueeze(-1).expand(b, z, t, ky, kx)
    return Measurement(random_complex(b, c, z, t, ky, kx, seed=seed), mask)


@pytest.fixture
def make_complex() -> Callable[..., Tensor]:
    """`random_complex` for a test."""
    return random_complex


@pytest.fixture
def make_measurement() -> Callable[..., Measurement]:
    """`ragged_measurement` for a test."""
    return ragged_measurement


@pytest.fixture
def global_state_untouched() -> Iterator[None]:
    """Fails a test that draws from torch's global random state."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state()), "the global random state was touched"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real cines, from KWISE_DATA or beside the repository; the test skips without it."""
    folder = Path(os.environ.get("KWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / "acdc-cine").is_dir():
        pytest.skip(f"real data not found in {folder}; set KWISE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def save_tiny() -> Callable[[Path, dict[str, object]], Path]:
    """Writes a small untrained Syn-Net with this preprocessing as a checkpoint; returns its folder."""

    def save(folder: Path, preprocessing: dict[str, object]) -> Path:
        options = {"channels": (4, 8)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = MODELS["syn_net"](**options)
        save_checkpoint(folder, model, "syn_net", options, preprocessing)
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[[Path, dict[str, object]], Path]
) -> Path:
    """A small untrained checkpoint that sees the central 16 x 16 of k-space."""
    return save_tiny(tmp_path_factory.mktemp("tiny") / "checkpoint", {"matrix": [16, 16]})


@pytest.fixture(scope="session")
def desk(tiny_checkpoint: Path) -> Iterator[Desk]:
    """The desk of both servers, its worker running."""
    limits = Limits(10**7, upload_seconds=20, answer_seconds=60, memory_bytes=4 * 10**9, waiting=2)
    with Desk(tiny_checkpoint, limits) as desk:
        yield desk
