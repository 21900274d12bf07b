"""Attention in the Fourier basis, and DiSK+ built on it: lines, points, shifts and any grid."""

import pytest
import torch
from torch import Tensor

from kwise.coordinates import axis_coords, kspace_coords
from kwise.fourier import fft2c
from kwise.models.disk_plus import DiskPlus
from kwise.nn.spectral import (
    CoordinateDecoder,
    SpectralProfiles,
    TemporalKernel,
    cell_centres,
    hat_weights,
    rotation,
)
from kwise.nn.transformer import Transformer
from kwise.seeding import generator
from kwise.types import Measurement, Query

P = 4  # latent positions per axis


def small(tokens: str = "lines", rotate: bool = True) -> DiskPlus:
    """A tiny DiSK+ whose weights do not depend on the way it takes samples in."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DiskPlus(
            width=8,
            n_layers=1,
            n_heads=2,
            n_positions=P,
            n_profiles=3,
            n_windows=2,
            tokens=tokens,
            rotate=rotate,
        ).eval()


def cine(ny: int = 16, nx: int = 16, word: object = 0) -> Tensor:
    """A random complex image (1, 1, 1, t, y, x)."""
    return torch.randn(1, 1, 1, 3, ny, nx, dtype=torch.complex64, generator=generator("cine", word))


def measured(image: Tensor, share: float = 0.5) -> Measurement:
    """Random lines of an image, the centre line always."""
    t, ny = image.shape[3:5]
    lines = torch.rand(1, 1, t, ny, 1, generator=generator("lines")) < share
    lines[..., ny // 2, :] = True
    return Measurement(fft2c(image), lines)


# -- lines, points and trajectories are the same samples


@torch.inference_mode()
@pytest.mark.parametrize("size", [(8, 8), (9, 6)])
def test_lines_and_points_are_the_same_model(make_measurement, size: tuple[int, int]) -> None:
    measurement = make_measurement(b=2, c=2, z=2, ky=size[0], kx=size[1])
    lines, points = small("lines")(measurement), small("points")(measurement)
    torch.testing.assert_close(lines.logits, points.logits, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(lines.latents, points.latents, atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_a_grid_read_along_a_trajectory_gives_the_same_answer(make_measurement) -> None:
    """Spokes in any order, split in two: the k-space axes are no image axes any more."""
    grid = make_measurement(ky=8, kx=6)
    order = torch.randperm(8, generator=generator("spokes"))

    def spokes(x: Tensor) -> Tensor:
        """(..., ky, kx) -> (..., 2 * ky, kx / 2)."""
        return x[..., order, :].unflatten(-1, (2, 3)).flatten(-3, -2)

    path = torch.stack([spokes(kspace_coords(grid)[..., 2 + i]) for i in range(2)], dim=-1)
    turned = Measurement(spokes(grid.kspace), spokes(grid.mask), None, path, image_shape=(8, 6))
    wanted, got = small("points")(grid).logits, small("points")(turned).logits
    assert got.shape == wanted.shape == (2, 4, 1, 3, 8, 6)
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_a_trajectory_may_reach_the_edge_of_k_space() -> None:
    radius = torch.linspace(-0.5, 0.49999, 16)
    angles = torch.arange(5) * 2.4
    path = torch.stack([radius * angles.sin()[:, None], radius * angles.cos()[:, None]], dim=-1)
    path = path.expand(1, 1, 2, -1, -1, -1)
    values = torch.randn(1, 1, 1, 2, 5, 16, dtype=torch.complex64, generator=generator("radial"))
    mask = torch.ones(1, 1, 2, 5, 16, dtype=torch.bool)
    radial = Measurement(values, mask, None, path, image_shape=(12, 12))
    logits = small("points")(radial).logits
    assert logits.shape == (1, 4, 1, 2, 12, 12) and bool(torch.isfinite(logits).all())
    with pytest.raises(ValueError, match="non-Cartesian trajectory; wanted a Cartesian grid"):
        small("lines")(radial)


def test_an_unknown_way_to_take_samples_in() -> None:
    with pytest.raises(ValueError, match="got tokens='rays'; wanted 'lines' or 'points'"):
        DiskPlus(tokens="rays")


# -- the shift law


def latent_features(model: DiskPlus, image: Tensor) -> Tensor:
    """Features (f, py, px, d) of the latents before the transformer."""
    measurement = measured(image)
    heads = model.read(measurement, Query())
    frames = torch.arange(measurement.n_frames).unsqueeze(0)
    return model.features(heads, measurement, frames)[0].unflatten(1, (P, P))


@torch.inference_mode()
@pytest.mark.parametrize("tokens", ["lines", "points"])
@pytest.mark.parametrize("cells", [(1, 0), (0, 1), (2, -1)])
def test_when_the_image_moves_by_cells_the_features_move_along(tokens: str, cells: tuple[int, int]) -> None:
    """The rotation makes a latent's features a function of its neighbourhood, on the torus, at any R."""
    model, image = small(tokens), cine()
    moved = image.roll([n * 16 // P for n in cells], dims=(-2, -1))
    here, there = latent_features(model, image), latent_features(model, moved)
    torch.testing.assert_close(there, here.roll(cells, dims=(1, 2)), atol=2e-4, rtol=1e-3)
    assert (there - here).abs().max() > 0.1


@torch.inference_mode()
def test_the_features_do_not_know_the_global_phase_or_scale() -> None:
    model, image = small(), cine()
    turned = image * 3.7 * torch.exp(torch.tensor(1j))
    torch.testing.assert_close(
        latent_features(model, turned), latent_features(model, image), atol=1e-4, rtol=1e-3
    )


@torch.inference_mode()
def test_without_rotation_all_latents_hear_the_same() -> None:
    found = latent_features(small(rotate=False), cine())
    torch.testing.assert_close(found, found[:, :1, :1].expand_as(found), atol=1e-5, rtol=1e-4)


def test_the_rotation_is_an_inverse_fourier_transform() -> None:
    """All k-space samples rotated to the pixels' own positions and summed are the image."""
    image = cine(8, 6)[0, 0, 0, 0]
    rows, columns = (rotation(axis_coords(n) * n, axis_coords(n)) for n in (8, 6))
    again = rows.T @ fft2c(image) @ columns / (8 * 6) ** 0.5
    torch.testing.assert_close(again, image, atol=1e-5, rtol=1e-4)


# -- the decoder


@pytest.mark.parametrize("n_positions", [1, 2, 5, 8])
def test_the_hats_are_a_partition_of_unity(n_positions: int) -> None:
    decoder = CoordinateDecoder(3, 2, n_basis=4)
    everywhere = torch.linspace(-0.5, 0.4999, 101)
    hats = decoder.rows(everywhere, n_positions).unflatten(1, (n_positions, 4))[..., 0]
    torch.testing.assert_close(hats.sum(dim=1), torch.ones(101), atol=1e-5, rtol=0)
    assert bool((hats >= 0).all()) and int((hats > 1e-6).sum(dim=1).max()) <= 2


@torch.inference_mode()
@pytest.mark.parametrize("factor", [2, 3])
def test_a_finer_grid_agrees_where_grids_share_coordinates(factor: int) -> None:
    decoder = CoordinateDecoder(6, 4)
    latents = torch.randn(2, P, P, 6, generator=generator("latents"))
    coarse = decoder(latents, axis_coords(8), axis_coords(6))
    fine = decoder(latents, axis_coords(8 * factor), axis_coords(6 * factor))
    first = [n * factor // 2 - n // 2 * factor for n in (8, 6)]
    assert coarse.shape == (2, 4, 8, 6)
    torch.testing.assert_close(
        fine[..., first[0] :: factor, first[1] :: factor], coarse, atol=1e-5, rtol=1e-4
    )


@torch.inference_mode()
def test_the_model_answers_on_the_grid_and_at_the_points_asked(make_measurement) -> None:
    model, measurement = small(), make_measurement(b=2, z=2)
    coarse, fine = model(measurement).logits, model(measurement, Query(resolution=(16, 24))).logits
    assert fine.shape == (2, 4, 2, 3, 16, 24)
    torch.testing.assert_close(fine[..., ::2, ::3], coarse, atol=1e-5, rtol=1e-4)
    points = torch.randint(0, 2 * 64, (2, 5), generator=generator("points"))
    frames = torch.tensor([[2, 0], [1, 1]])
    asked = model(measurement, Query(frames=frames, points=points)).logits
    dense = model(measurement, Query(frames=frames)).logits
    index = points[:, None, None].expand(-1, 4, 2, -1)
    torch.testing.assert_close(asked, dense.flatten(3).gather(3, index), atol=1e-5, rtol=1e-4)


# -- bricks


def test_hats_interpolate_linearly() -> None:
    weights = hat_weights(torch.tensor([0.0, 0.125, 0.5, 1.0]), 5)
    assert weights.tolist() == [[1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1]]


def test_profiles_start_with_a_fixed_low_pass_and_follow_their_tables() -> None:
    profiles = SpectralProfiles(3, 9, 8.0, 4.0, generator("profiles"))
    again = SpectralProfiles(3, 9, 8.0, 4.0, generator("profiles"))
    assert torch.equal(profiles.table, again.table)
    heard = profiles(torch.tensor([-20.0, -8.0, 0.0, 1.0, 2.0]))
    assert heard.shape == (5, 3) and heard[0].tolist() == heard[1].tolist()
    assert heard[2, 0] == 1 and bool((heard[:, 0].imag == 0).all())
    torch.testing.assert_close(heard[3], (heard[2] + heard[4]) / 2)
    heard.abs().sum().backward()
    assert profiles.table.grad is not None and "low_pass" not in profiles.state_dict()


def kernel_weights(
    frames: list[float], times: list[float], cells: list[int], valid: Tensor | None = None
) -> Tensor:
    """(f, w, j) weights of samples on cells at k = 0."""
    place = torch.tensor([cells])
    with torch.no_grad():
        return TemporalKernel(2)(
            torch.tensor([frames]), torch.tensor([times]), torch.zeros(1, len(times)), place, 5, valid
        )[0]


def test_the_temporal_kernel_is_normalised_by_what_was_sampled() -> None:
    alone = kernel_weights([0.1], [0.1], [3])
    torch.testing.assert_close(alone.squeeze(), torch.full((2,), 1 / 1.05))
    often = kernel_weights([0.1], [0.1] * 4, [3] * 4)
    torch.testing.assert_close(often.sum(dim=-1).squeeze(), torch.full((2,), 4 / 4.05))
    elsewhere = kernel_weights([0.1], [0.1, 0.1, 0.2], [3, 1, 1])
    torch.testing.assert_close(elsewhere[..., 0], alone[..., 0], msg="cells talk to each other")


def test_the_temporal_kernel_is_cyclic_and_local() -> None:
    weights = kernel_weights([0.0], [0.1, -0.1, 0.9, 0.4], [0, 1, 2, 3])[0, 0]
    torch.testing.assert_close(weights[:3], weights[:1].expand(3), atol=1e-5, rtol=1e-4)
    assert weights[3] < 1e-3 * weights[0]


def test_padding_weighs_nothing() -> None:
    valid = torch.tensor([[True, True, False]])
    weights = kernel_weights([0.0, 0.5], [0.0, 0.5, 0.0], [0, 0, 0], valid)
    torch.testing.assert_close(weights[..., :2], kernel_weights([0.0, 0.5], [0.0, 0.5], [0, 0]))
    assert bool((weights[..., 2] == 0).all())


@torch.inference_mode()
def test_the_transformer_does_not_know_the_order_of_its_tokens() -> None:
    transformer, tokens = Transformer(8, 2, 2), torch.randn(2, 3, 5, 8, generator=generator("tokens"))
    order = torch.randperm(5, generator=generator("order"))
    torch.testing.assert_close(
        transformer(tokens[..., order, :]), transformer(tokens)[..., order, :], atol=1e-5, rtol=1e-4
    )
    assert transformer(tokens).shape == tokens.shape


def test_cell_centres_lie_within_the_field_of_view() -> None:
    assert cell_centres(4).tolist() == [-0.375, -0.125, 0.125, 0.375]


@torch.inference_mode()
def test_mixed_precision_changes_answers_a_little(make_measurement) -> None:
    model, measurement = small(), make_measurement()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(measurement).logits.float()
    exact = model(measurement).logits
    assert (mixed - exact).abs().max() < 0.05 * exact.abs().max()
