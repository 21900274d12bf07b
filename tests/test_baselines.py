"""The parts of the baselines that the common laws do not see: grids, scale, floors, stages and controls."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kwise.fourier import fft2c
from kwise.models.answer import gather_points, resize_answer, robust_scale, rolled_frames, unfold_slices
from kwise.models.controls import CONTROLS, centre_only, shuffled_kspace
from kwise.models.disk import Disk
from kwise.models.li_net import LiNet
from kwise.models.mean_shape import MeanShape, heart_centres
from kwise.models.syn_net import SynNet
from kwise.nn.attention import Attention
from kwise.nn.conv import UNet
from kwise.nn.encodings import frequency_encoding
from kwise.seeding import generator
from kwise.types import Batch, Measurement, Prediction, Query, Targets

Make = Callable[..., Measurement]


def blob_labels(centres: list[tuple[int, int]], size: int = 33, radius: float = 5.0) -> Tensor:
    """(b, 1, 2, y, x): a disc of class 1 inside a ring of class 2, one case a centre."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    cases = []
    for cy, cx in centres:
        distance = ((y - cy) ** 2 + (x - cx) ** 2).sqrt()
        cases.append((distance < radius).long() + ((distance >= radius) & (distance < radius + 3)) * 2)
    return torch.stack(cases)[:, None, None].expand(-1, 1, 2, -1, -1).contiguous()


def overlap(prediction: Prediction, labels: Tensor) -> float:
    """Dice of the whole foreground."""
    ours, truth = prediction.labels() > 0, labels > 0
    return float(2 * (ours & truth).sum() / (ours.sum() + truth.sum()))


def test_resizing_keeps_the_centre_and_the_field_of_view() -> None:
    ramp = ((torch.arange(12) - 6) / 12).expand(1, 1, 9, 12)
    for shape in ((5, 7), (18, 25)):
        resized = resize_answer(ramp, shape)
        wanted = (torch.arange(shape[1]) - shape[1] // 2) / shape[1]
        inside = (wanted >= ramp.min()) & (wanted <= ramp.max())
        assert resized.shape == (1, 1, *shape)
        assert inside.sum() >= shape[1] - 2
        torch.testing.assert_close(resized[0, 0, 2][inside], wanted[inside], atol=1e-6, rtol=0)


def test_resized_answers_travel_through_any_leading_axes() -> None:
    logits = torch.randn(2, 4, 1, 3, 6, 5, generator=generator("resize"))
    single = resize_answer(logits[1, 2, :, 1:2], (9, 9))
    torch.testing.assert_close(resize_answer(logits, (9, 9))[1, 2, :, 1:2], single)
    assert resize_answer(logits, (6, 5)) is logits


def test_unfolding_and_points() -> None:
    logits = torch.arange(2 * 3 * 4 * 2 * 5 * 6.0).reshape(2, 4, 3, 2, 5, 6)  # (b, k, z, f, y, x)
    folded = logits.transpose(1, 2).flatten(0, 1)
    assert torch.equal(unfold_slices(folded, 3), logits)
    points = gather_points(logits, Query(points=torch.tensor([[0, 31], [59, 7]])))
    assert points.shape == (2, 4, 3, 2)
    assert points[0, 1, 2, 1] == logits[0, 1, 2, 1, 0, 1]
    assert points[1, 3, 0, 0] == logits[1, 3, 0, 1, 4, 5]


def test_scale_is_the_image_rms_whatever_the_acceleration(make_complex: Callable[..., Tensor]) -> None:
    image = torch.zeros(1, 1, 1, 40, 16, 16, dtype=torch.complex64)
    image[..., 4:11, 5:12] = 1.3
    kspace = 5 * fft2c(image)
    full = torch.ones(1, 1, 40, 16, 16, dtype=torch.bool)
    lines = torch.rand(1, 1, 40, 16, 1, generator=generator("rows")) < 0.25
    rms = 5 * image.abs().square().mean().sqrt()
    torch.testing.assert_close(robust_scale(Measurement(kspace, full)).squeeze(), rms)
    torch.testing.assert_close(robust_scale(Measurement(kspace, lines)).squeeze(), rms, rtol=1e-3, atol=0)


def test_scale_of_silence_is_one() -> None:
    silent = Measurement(
        torch.zeros(1, 1, 1, 2, 4, 4, dtype=torch.complex64), torch.ones(1, 1, 2, 4, 4).bool()
    )
    assert robust_scale(silent).item() == 1


def test_rolled_frames_start_at_the_queried_frame() -> None:
    frames = torch.arange(6.0).reshape(1, 6, 1, 1)
    query = Query(frames=torch.tensor([[4, 0]]))
    assert rolled_frames(frames, query, 6).flatten().tolist() == [4, 5, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5]
    assert rolled_frames(frames, query, 3)[0, 0].flatten().tolist() == [4, 0, 2]


def test_frequency_encoding_orders_sines_before_cosines() -> None:
    x = torch.tensor([[0.25, 0.1]])
    pi = torch.pi
    phases = torch.tensor([0.25 * pi, 0.5 * pi, 0.1 * pi])
    wanted = torch.cat([x[0], phases.sin(), phases.cos()])
    torch.testing.assert_close(frequency_encoding(x, (2, 1))[0], wanted)
    with pytest.raises(ValueError, match="got 1 octaves; wanted 2"):
        frequency_encoding(x, (2,))


def test_attention_agrees_with_torch() -> None:
    """The fused module gives what torch's own multi-head attention gives, with padding."""
    ours, theirs = Attention(8, heads=2), nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    queries, context = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    valid = torch.arange(5) < torch.tensor([[5], [3]])
    wanted, _ = theirs(queries, context, context, key_padding_mask=~valid)
    torch.testing.assert_close(ours(queries, context, valid), wanted)


@pytest.mark.parametrize("norm", ["group", "instance"])
@pytest.mark.parametrize("dims", [2, 3])
def test_unet_takes_any_size(dims: int, norm: str) -> None:
    net = UNet(2, 5, (4, 6, 8), dims, norm)
    lead = (2, 2) if dims == 2 else (2, 2, 3)
    for size in ((9, 13), (16, 12)):
        assert net(torch.randn(*lead, *size)).shape == (2, 5, *lead[2:], *size)


@pytest.mark.parametrize(
    "model",
    [SynNet(channels=(4, 8), frames_as="rolled", n_frames=4),
     SynNet(channels=(4, 8), norm="instance"),
     LiNet(latent=4, matrix=(8, 8), channels=(4, 4), frames_as="single"),
     Disk(width=40, n_latents=4, layers=1, heads=2, ffn=8, n_coils=1, scale="none")],
    ids=["syn_net rolled", "syn_net instance", "li_net single", "disk two heads"],
)  # fmt: skip
def test_variants_answer(model: nn.Module, make_measurement: Make) -> None:
    measurement = make_measurement(ky=11, kx=8, t=5, z=2)
    assert model(measurement, Query(frames=torch.tensor([[4], [1]]))).logits.shape == (2, 4, 2, 1, 11, 8)


def test_disk_reads_as_many_coils_as_it_was_built_for(make_measurement: Make) -> None:
    measurement = make_measurement(c=2)
    assert Disk(width=48, n_latents=4, layers=1, n_coils=2)(measurement).logits is not None
    with pytest.raises(ValueError, match="got 2 coils; wanted n_coils=1"):
        Disk(width=48, n_latents=4, layers=1)(measurement)


def test_disk_trains_with_repeatable_jitter_and_a_weight_penalty(make_measurement: Make) -> None:
    measurement = make_measurement()
    model = Disk(width=32, n_latents=4, layers=1, jitter_sd=0.01, weight_penalty=1e-5).train()
    start = model.draws.clone()
    first, second = model(measurement), model(measurement)
    model.draws.copy_(start)
    assert first.logits is not None and second.logits is not None
    assert not torch.equal(first.logits, second.logits)
    torch.testing.assert_close(model(measurement).logits, first.logits)
    squares = sum(p.square().sum() for n, p in model.named_parameters() if not n.startswith("head"))
    torch.testing.assert_close(first.losses["weight_penalty"], 1e-5 * squares)
    assert model.eval()(measurement).losses == {}


def labelled(labels: Tensor) -> Batch:
    """A training batch of which nothing but the labels (b, z, t, y, x) matters."""
    b, z, t, y, x = labels.shape
    measured = Measurement(torch.ones(b, 1, z, t, y, x) * 1j, torch.ones(b, z, t, y, x).bool())
    return Batch(("case",) * b, measured, Targets(labels), (1.0,) * b)


def test_mean_shape_in_place_and_at_the_true_centre() -> None:
    training = blob_labels([(9 + 5 * i, 9 + 5 * j) for i in range(4) for j in range(4)])
    held_out = blob_labels([(11, 22), (21, 12)])
    model = MeanShape(n_classes=3, matrix=(33, 33))
    model.fit(map(labelled, (training[:6], training[6:])))
    empty = Measurement(torch.ones(2, 1, 1, 2, 33, 33) * 1j, torch.ones(2, 1, 2, 33, 33).bool())
    fixed, placed = model(empty), model.place(heart_centres(held_out), (1, 2, 33, 33))
    assert placed.logits is not None and placed.logits.shape == (2, 3, 1, 2, 33, 33)
    assert overlap(placed, held_out) > 0.93
    assert 0.2 < overlap(fixed, held_out) < 0.8


def test_mean_shape_offsets_are_tuned_for_dice() -> None:
    """Scattered hearts: plain frequencies call everything background, tuned ones do not."""
    model = MeanShape(n_classes=3, matrix=(33, 33))
    model.fit([labelled(blob_labels([(6 + 7 * i, 6 + 7 * j) for i in range(4) for j in range(4)]))])
    assert (model.fixed.argmax(dim=0) == 0).all()
    assert model.fixed_offsets.abs().max() > 0
    with pytest.raises(ValueError, match="got no training labels"):
        model.fit([])


def test_heart_centres() -> None:
    centres = heart_centres(blob_labels([(16, 16), (10, 20)]))
    torch.testing.assert_close(centres, torch.tensor([[0.0, 0.0], [-6 / 33, 4 / 33]]), atol=1e-6, rtol=0)
    assert torch.equal(heart_centres(torch.zeros(1, 1, 1, 4, 4).long()), torch.zeros(1, 2))


def test_li_net_learns_stage_by_stage(make_measurement: Make) -> None:
    """The predictor's stage touches the predictor alone; an unknown stage is refused."""
    measurement = make_measurement(ky=16, kx=16)
    model = LiNet(latent=4, matrix=(8, 8), channels=(4, 4), n_frames=3)
    labels = torch.randint(0, 4, (2, 1, 3, 16, 16), generator=generator("li"))
    labels[:, :, 1] = -1  # a frame nobody annotated
    targets = Targets(labels)

    def unused(prediction: Prediction, targets: Targets) -> Tensor:
        raise AssertionError("the predictor's stage needs no task")

    model.stage_loss("predictor", measurement, targets, unused).backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"predictor"}
    with pytest.raises(ValueError, match="got stage 'last'; wanted one of autoencoder, predictor, joint"):
        model.stage_loss("last", measurement, targets, unused)


def test_shuffled_kspace_moves_cases_by_one(make_measurement: Make) -> None:
    measurement = make_measurement(b=3)
    shuffled = shuffled_kspace(measurement)
    assert torch.equal(shuffled.kspace[1], measurement.kspace[0])
    assert torch.equal(shuffled.mask[0], measurement.mask[2])
    with pytest.raises(ValueError, match="got a batch of one case"):
        shuffled_kspace(make_measurement(b=1))


def test_centre_only_keeps_one_line_of_the_whole_cine() -> None:
    mask = torch.zeros(1, 1, 3, 9, 4, dtype=torch.bool)
    mask[0, 0, 0, [1, 4, 5]] = True
    mask[0, 0, 1, [0, 6]] = True  # frame 2 acquired nothing
    kept = CONTROLS["centre_only"](Measurement(torch.ones(1, 1, 1, 3, 9, 4) + 0j, mask))
    assert kept.mask.any(dim=-1)[0, 0].nonzero().tolist() == [[0, 4]]
    assert kept.kspace.abs().sum() == 4


def test_centre_only_keeps_a_single_neighbour_where_dc_was_never_acquired() -> None:
    mask = torch.zeros(1, 1, 3, 9, 4, dtype=torch.bool)
    mask[0, 0, 0, [3, 8]] = True
    mask[0, 0, 1, [3, 5]] = True
    kept = centre_only(Measurement(torch.ones(1, 1, 1, 3, 9, 4) + 0j, mask))
    assert kept.mask.any(dim=-1)[0, 0].nonzero().tolist() == [[0, 3], [1, 3]]
    assert torch.equal(centre_only(kept).mask, kept.mask)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SynNet(frames_as="stacked"), "got frames_as='stacked'"),
        (lambda: LiNet(matrix=(20, 20), channels=(4, 4, 4)), "wanted sizes that are multiples of 8"),
        (lambda: Disk(scale="max"), "got scale 'max'"),
        (lambda: Disk(width=10, heads=3), "got width 10 and 3 heads"),
        (lambda: UNet(1, 1, dims=4), "got 4 dimensions"),
        (lambda: UNet(1, 1, norm="batch"), "got 'batch'"),
    ],
)
def test_wrong_options_are_refused(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
