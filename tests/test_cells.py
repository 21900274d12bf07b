"""Cells of tokens: where a token stands, what a sum over cells counts, and a whitened embedding."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kwise.models import MODELS
from kwise.nn.cells import GRID, N_CELLS, CellLinear, CellSum, cells_of, whiten
from kwise.nn.tokens import PatchTokens
from kwise.seeding import generator
from kwise.types import Batch, Measurement, Targets


def kinds(*views: int) -> Tensor:
    return torch.tensor([views])


def test_every_view_of_an_examination_has_cells_of_its_own() -> None:
    cells = cells_of(kinds(0, 0, 0, 0, 0, 0, 1, 2, 3), (1, *GRID))
    assert sorted(cells[0].tolist()) == list(range(N_CELLS))


def test_a_stack_of_any_length_is_spread_over_the_same_places() -> None:
    per_view = GRID[0] * GRID[1]
    for n in (1, 3, 12):
        places = cells_of(kinds(*[0] * n), (1, *GRID)).unflatten(1, (n, -1))[0, :, 0] // per_view
        assert places.tolist() == [i * 6 // n for i in range(n)]


def test_frames_and_finer_grids_share_cells() -> None:
    fine = cells_of(kinds(2), (5, 8, 8)).unflatten(1, (5, 8, 8))[0]
    assert torch.equal(fine, fine[:1].expand(5, -1, -1))
    coarse = cells_of(kinds(2), (1, *GRID)).unflatten(1, GRID)[0]
    assert torch.equal(fine[0, ::2, ::2], coarse) and torch.equal(fine[0, 1::2, 1::2], coarse)


def test_tokens_that_are_padding_and_cells_without_tokens_add_nothing() -> None:
    torch.manual_seed(0)
    summed = CellSum(6, 2)
    tokens, cells = torch.randn(1, 4, 6), torch.tensor([[5, 5, 9, 70]])
    valid = torch.tensor([[True, True, True, False]])
    torch.testing.assert_close(summed(tokens, valid, cells), summed(tokens[:, :3], None, cells[:, :3]))
    nothing = summed(tokens[:, :0], None, cells[:, :0])
    torch.testing.assert_close(nothing, summed.widen.bias.expand(1, -1))


def test_where_a_token_stands_matters() -> None:
    torch.manual_seed(0)
    summed, tokens = CellSum(6, 2), torch.randn(1, 2, 6)
    here, there = (summed(tokens, None, torch.tensor([places])) for places in ([1, 2], [1, 3]))
    assert not torch.allclose(here, there)


def test_a_whitened_embedding_says_differences_alone_each_of_one_size() -> None:
    draw = generator("whitening")
    layer = CellLinear(8, 8)
    cells = torch.arange(N_CELLS).expand(40, -1)
    usual = torch.randn(N_CELLS, 8, generator=draw) * 5
    mixing = torch.randn(8, 8, generator=draw)
    batches = [usual[cells] + torch.randn(40, N_CELLS, 8, generator=draw) @ mixing for _ in range(3)]
    whiten(layer, (layer(values, cells) for values in batches), size=0.5)
    said = torch.cat([layer(values, cells) for values in batches]).detach()
    torch.testing.assert_close(said.mean(dim=0), torch.zeros(N_CELLS, 8), atol=1e-4, rtol=0)
    covariance = torch.cov(said.flatten(0, 1).T)
    assert float((covariance - covariance.diag().diag()).abs().max()) < 1e-3
    assert float(covariance.diag().min()) > 0.2
    assert float(covariance.diag().max()) < 0.26
    assert not layer._forward_pre_hooks


def test_whitening_without_a_look_is_refused() -> None:
    with pytest.raises(ValueError, match="got no tokens"):
        whiten(CellLinear(3, 2), iter(()))


def test_before_whitening_an_embedding_is_a_plain_linear_map() -> None:
    torch.manual_seed(0)
    tokens, x = PatchTokens(1, (2, 4, 4), 16), torch.randn(1, 1, 1, 2, 8, 8)
    seen = torch.ones(1, 1, 2, 8, 8, dtype=torch.bool)
    found = tokens(x, seen, kinds(0)).values
    plain = nn.functional.linear(x[0, 0, 0, :, :4, :4].flatten(), tokens.embed.linear.weight)
    from kwise.nn.patches import patch_positions

    place = tokens.places(patch_positions((2, 8, 8), (2, 4, 4)), kinds(0)).flatten(1, 4)
    torch.testing.assert_close(found[0, 0], plain + tokens.embed.linear.bias + place[0, 0])


@pytest.mark.parametrize("name", ["kmtr", "kmtr_joint", "kspace_mae", "image_mae", "vit"])
def test_the_stage_of_a_model_whitens_its_encoder(
    name: str, make_measurement: Callable[..., Measurement]
) -> None:
    model, measured = MODELS[name](preset="tiny").eval(), make_measurement(ky=8, kx=8)
    targets = Targets(torch.zeros(2, 1, 1, 1, 1, dtype=torch.int64))
    (layer,) = (part for part in model.modules() if isinstance(part, CellLinear))
    before = layer.linear.weight.clone()
    assert model.fitted_stages == ("whiten",) and not layer.centre.any()
    model.fit([Batch(("a", "b"), measured, targets, (4.0, 4.0))])
    assert layer.centre.any() and not torch.equal(before, layer.linear.weight)


@pytest.mark.parametrize("name", ["kmtr", "kspace_mae", "image_mae", "vit"])
def test_the_papers_preset_reads_the_class_token_alone(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name](preset="paper")
    assert not any(isinstance(part, CellSum) for part in model.modules())
