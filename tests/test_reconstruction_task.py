"""Image metrics against scikit-image and against arithmetic, and the reconstruction task."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kwise.fourier import fft2c
from kwise.image_metrics import nmse, psnr, ssim
from kwise.seeding import generator
from kwise.tasks.reconstruction import Reconstruction
from kwise.types import Prediction, Query, Targets


def pictures(*shape: int, seed: str = "truth") -> Tensor:
    """Smooth complex pictures with a flat background."""
    noise = torch.randn(*shape, dtype=torch.complex64, generator=generator(seed))
    ramp = torch.linspace(0, 2, shape[-1])
    return torch.where(ramp > 0.5, ramp + 0.1 * noise, 0)


def targets_of(image: Tensor) -> Targets:
    return Targets(torch.zeros(image.shape, dtype=torch.int64), image)


# -- metrics


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    truth = pictures(4, 13, 18).abs()
    prediction = truth + 0.2 * pictures(4, 13, 18, seed="error").abs()
    for i in range(4):
        a, b = prediction[i].double().numpy(), truth[i].double().numpy()
        span = b.max() - b.min()
        assert float(psnr(prediction, truth)[i]) == pytest.approx(
            metrics.peak_signal_noise_ratio(b, a, data_range=span), abs=1e-6
        )
        assert float(ssim(prediction, truth)[i]) == pytest.approx(
            metrics.structural_similarity(b, a, data_range=span), abs=1e-6
        )


def test_psnr_by_hand() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[0, 0, 0] = 2.0  # range 2
    assert float(psnr(truth + 0.2, truth)) == pytest.approx(20.0, abs=1e-4)
    assert float(nmse(truth * 1.1, truth)) == pytest.approx(0.01, abs=1e-6)


def test_a_bright_pixel_of_the_prediction_does_not_raise_its_score() -> None:
    truth = pictures(1, 9, 9).abs()
    worse = truth.clone()
    worse[0, 4, 4] = 50.0
    assert float(psnr(worse, truth)) < 0 and float(psnr(truth, truth)) == float("inf")


def test_complex_metrics_see_what_magnitudes_hide() -> None:
    truth = pictures(2, 9, 10)
    turned = truth * torch.exp(torch.tensor(0.5j))
    assert (psnr(turned.abs(), truth.abs()) > 80).all() and (psnr(turned, truth) < 30).all()
    assert (ssim(turned, truth) < 0.99).all()
    assert torch.allclose(
        nmse(turned, truth), torch.tensor(abs(1 - complex(torch.exp(torch.tensor(0.5j)))) ** 2).double()
    )


def test_constant_truth_has_no_range() -> None:
    flat = torch.ones(1, 8, 8)
    assert float(psnr(flat, flat)) == float("inf") and float(ssim(flat, flat)) == 1
    assert psnr(flat + 1, flat).isnan() and ssim(flat + 1, flat).isnan()
    empty = torch.zeros(1, 8, 8)
    assert float(nmse(empty, empty)) == 0 and float(nmse(flat, empty)) == float("inf")


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got shapes \(2, 8, 8\) and \(1, 8, 8\)"):
        psnr(torch.ones(2, 8, 8), torch.ones(1, 8, 8))
    with pytest.raises(ValueError, match="at least 7 x 7"):
        ssim(torch.ones(6, 8), torch.ones(6, 8))


# -- the task


def test_the_loss_is_the_same_in_k_space() -> None:
    """Parseval: the relative squared error of images and of their k-space are one number."""
    truth, image = pictures(2, 1, 3, 8, 9), pictures(2, 1, 3, 8, 9, seed="other")
    here = Reconstruction().loss(Prediction(image=image), targets_of(truth))
    there = Reconstruction().loss(Prediction(image=fft2c(image)), targets_of(fft2c(truth)))
    torch.testing.assert_close(here, there)


@pytest.mark.parametrize("kind", ["l2", "l1"])
def test_the_loss_does_not_know_units(kind: str) -> None:
    truth, image = pictures(2, 1, 3, 8, 9), pictures(2, 1, 3, 8, 9, seed="other")
    task = Reconstruction(kind)
    plain = task.loss(Prediction(image=image), targets_of(truth))
    torch.testing.assert_close(task.loss(Prediction(image=1e-6 * image), targets_of(1e-6 * truth)), plain)
    assert task.loss(Prediction(image=0 * image), targets_of(truth)) == pytest.approx(1)


def test_a_magnitude_truth_is_compared_with_magnitudes() -> None:
    truth = pictures(1, 1, 2, 9, 9)
    turned = Prediction(image=truth * torch.exp(torch.tensor(1j)))
    assert Reconstruction().loss(turned, targets_of(truth.abs())) < 1e-9
    row = Reconstruction().score(turned, targets_of(truth.abs()))[0]
    assert row["psnr_db"] > 80 and row["complex_psnr_db"] != row["complex_psnr_db"]


def test_gradients_are_finite_where_the_answer_is_right() -> None:
    truth = pictures(1, 1, 1, 8, 8)
    image = truth.clone().requires_grad_()
    Reconstruction().loss(Prediction(image=image), targets_of(truth)).backward()
    assert torch.isfinite(image.grad).all()


def test_points_and_own_losses() -> None:
    truth, image = pictures(2, 1, 2, 8, 9), pictures(2, 1, 2, 8, 9, seed="other")
    points = torch.arange(2 * 8 * 9).expand(2, -1)
    targets = replace(targets_of(truth), query=Query(points=points))
    dense = Reconstruction().loss(Prediction(image=image, losses={"x": torch.tensor(0.5)}), targets)
    at_points = Reconstruction().loss(Prediction(image=image.flatten(2)), targets)
    torch.testing.assert_close(dense, at_points + 0.5)


def test_frames_have_rows_of_their_own() -> None:
    truth = pictures(2, 1, 3, 8, 9)
    wrong = truth.clone()
    wrong[0, :, 1] = 0
    tables = Reconstruction().frame_scores(Prediction(image=wrong), targets_of(truth))
    assert [row["frame"] for row in tables[0]] == [0, 1, 2]
    assert tables[0][0]["psnr_db"] == float("inf") > tables[0][1]["psnr_db"]


@pytest.mark.parametrize(
    ("prediction", "targets", "message"),
    [
        (Prediction(), targets_of(pictures(1, 1, 1, 8, 8)), "a prediction without an image"),
        (Prediction(image=pictures(1, 1, 1, 8, 8)), Targets(torch.zeros(1, 1, 1, 8, 8).long()),
         "targets without an image; wanted the fully sampled reference"),
        (Prediction(image=pictures(1, 1, 1, 8, 9)), targets_of(pictures(1, 1, 1, 8, 8)), "8, 9"),
        (Prediction(image=pictures(1, 1, 1, 8, 8) * torch.nan), targets_of(pictures(1, 1, 1, 8, 8)), "NaN"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(prediction: Prediction, targets: Targets, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reconstruction().score(prediction, targets)


def test_an_unknown_kind_teaches_the_nearest() -> None:
    with pytest.raises(ValueError, match="wanted l2"):
        Reconstruction("l22")
