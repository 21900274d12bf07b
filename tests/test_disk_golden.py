"""DiSK against the authors' own network: same random weights, same input, same numbers to 1e-4."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kwise.models.disk import Disk, convert_parameters, infer_options
from kwise.types import Measurement, Prediction, Query

GOLDEN = Path(__file__).parent / "golden" / "disk_16.npz"
TOLERANCE = 1e-4


def authors_parameters() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {name.removeprefix("param/"): file[name] for name in file.files if name.startswith("param/")}


def golden(name: str) -> np.ndarray:
    with np.load(GOLDEN) as file:
        return file[name]


def golden_model() -> Disk:
    config = ast.literal_eval(str(golden("config")))
    options = infer_options(authors_parameters(), heads=config["heads"])
    model = Disk(**options, octaves=config["octaves"], scale="none").eval()
    model.load_state_dict(convert_parameters(authors_parameters()))
    return model


def golden_measurement() -> Measurement:
    """Their (readout, line, frame) k-space and (line, frame) mask in our order (b, c, z, t, ky, kx)."""
    kspace = torch.from_numpy(golden("kspace")).permute(2, 1, 0)[None, None, None]
    mask = torch.from_numpy(golden("mask_acquired")).T[None, None, :, :, None]
    return Measurement(kspace, mask)


def their_probabilities() -> Tensor:
    """(1, k, 1, f, y, x) from their (x, y, frame, class)."""
    return torch.from_numpy(golden("class_probabilities")).permute(3, 2, 1, 0)[None, :, None]


@pytest.fixture(scope="module")
def answer() -> Prediction:
    with torch.no_grad():
        return golden_model()(golden_measurement())


def test_sizes_are_inferred_from_the_parameters() -> None:
    config = ast.literal_eval(str(golden("config")))
    options = infer_options(authors_parameters())
    assert [options[k] for k in ("width", "layers", "ffn")] == [config[k] for k in ("width", "layers", "ffn")]
    assert (options["n_latents"], options["n_classes"]) == (config["latents"], config["classes"])


def test_latents_after_each_layer(answer: Prediction) -> None:
    model, measurement = golden_model(), golden_measurement()
    with torch.no_grad():
        latents = model.encode(model._samples(measurement))
    assert len(latents) == 3
    for i, ours in enumerate(latents):
        torch.testing.assert_close(ours[0], torch.from_numpy(golden(f"latents_{i}")), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(answer.latents, latents[-1])


def test_class_probabilities(answer: Prediction) -> None:
    torch.testing.assert_close(answer.probabilities(), their_probabilities(), atol=TOLERANCE, rtol=0)


def test_golden_values_tell_the_two_image_axes_apart(answer: Prediction) -> None:
    assert (answer.probabilities().transpose(-1, -2) - their_probabilities()).abs().max() > 10 * TOLERANCE


def test_chunks_and_points_give_the_same_numbers() -> None:
    model = golden_model()
    model.query_chunk = 100
    points = torch.tensor([[0, 17, 1023, 500]])
    with torch.no_grad():
        chunked = model(golden_measurement()).probabilities()
        asked = model(golden_measurement(), Query(points=points)).probabilities()
    torch.testing.assert_close(chunked, their_probabilities(), atol=TOLERANCE, rtol=0)
    wanted = their_probabilities().flatten(3)[..., points[0]]
    torch.testing.assert_close(asked, wanted, atol=TOLERANCE, rtol=0)


def test_published_size_is_about_1_2_million_parameters() -> None:
    count = sum(p.numel() for p in Disk().parameters())
    assert 1.1e6 < count < 1.3e6


def test_unknown_parameter_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"converting DiSK parameters: got 'decoder\.extra'"):
        convert_parameters({"decoder.extra": np.zeros(3)})
