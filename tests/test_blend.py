"""A blend of images: what it is before and after its weights are solved for."""

import torch

from kwise.models import MODELS
from kwise.nn.blend import Blend
from kwise.seeding import generator


def parts(n: int = 6) -> torch.Tensor:
    return torch.rand(n, 2, 3, 8, 8, generator=generator("parts", n))


def test_a_blend_begins_as_the_sum_of_the_parts_named() -> None:
    some = parts()
    torch.testing.assert_close(Blend(3, (1, 2))(some, torch.zeros(6)), some[:, :, 1:].sum(dim=2))


def test_the_weights_of_a_blend_are_found_again_and_follow_s() -> None:
    some, s = parts(), torch.linspace(-1, 1, 6)
    wanted = torch.tensor([[0.2, 0.5, 0.3], [0.1, -0.1, 0.0]])
    truth = Blend(3, (0,))
    truth.weights.copy_(wanted)
    found = Blend(3, (0,))
    found.fit((x, t, truth(x, t)) for x, t in zip(some.split(2), s.split(2)))
    torch.testing.assert_close(found.weights, wanted, atol=1e-3, rtol=0)
    torch.testing.assert_close(found(some, s), truth(some, s), atol=1e-3, rtol=0)


def test_magnitudes_are_never_below_zero() -> None:
    blend = Blend(3, (0,))
    blend.weights[0, 0] = -1.0
    assert not blend(parts(), torch.zeros(6)).any()


def test_an_unfitted_joint_model_answers_its_middle_bank_and_the_correction() -> None:
    model = MODELS["harmonic_joint"](channels=(4, 8))
    assert model.blend.weights.tolist() == [[0.0, 1.0, 0.0, 1.0], [0.0] * 4]
