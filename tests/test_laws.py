"""Laws over the registries: one added word in a registry inherits its battery.

Here: operators, honesty on the way from a file to a model, controls, phases, data sets, tasks, batches.
The laws of MODELS stand in test_models.py, those of MASKS in test_sampling.py.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor

from kwise.coordinates import gather_samples, kspace_coords, scatter_samples
from kwise.data import DATASETS, DataSet
from kwise.data.loader import Acquisition, TrainingBatches, evaluation_batches, measure
from kwise.data.splits import SPLITS
from kwise.fourier import fft2c, ifft2c
from kwise.models import MODELS
from kwise.models.controls import CONTROLS
from kwise.operator import adjoint_operator, forward_operator
from kwise.phenotypes import DISEASES, PHENOTYPES
from kwise.sampling import MASKS, draw_mask
from kwise.seeding import generator, seed_of
from kwise.simulate import PHASES, coil_maps, simulate_scan
from kwise.tasks import TASKS, make_task, task_name
from kwise.types import IGNORE, Batch, Measurement, Prediction, Scan, Targets

GRIDS = [(1, 1, 8, 8), (2, 3, 7, 5), (1, 2, 5, 8), (3, 1, 1, 6)]  # z, t, y, x: odd, even, not square

every = pytest.mark.parametrize


def inner(a: Tensor, b: Tensor) -> complex:
    return complex((a.conj() * b).to(torch.complex128).sum())


# -- operators


@every("grid", GRIDS)
@every("n_coils", [None, 1, 5])
def test_adjointness(grid: tuple[int, ...], n_coils: int | None, make_complex) -> None:
    """<A x, y> = <x, A^H y>."""
    z, _, ny, nx = grid
    maps = None if n_coils is None else make_complex(2, n_coils, z, ny, nx, seed="maps")
    mask = torch.rand(2, *grid, generator=generator("mask")) < 0.4
    x = make_complex(2, *grid, seed="x")
    y = make_complex(2, n_coils or 1, *grid, seed="y")
    left, right = inner(forward_operator(x, mask, maps), y), inner(x, adjoint_operator(y, mask, maps))
    assert abs(left - right) <= 1e-5 * (1 + abs(left))


@every("grid", GRIDS)
def test_the_fourier_transform_is_unitary(grid: tuple[int, ...], make_complex) -> None:
    """Adjoint and inverse are the same, and energy is kept (Parseval)."""
    x, y = make_complex(*grid, seed="x"), make_complex(*grid, seed="y")
    assert abs(inner(fft2c(x), y) - inner(x, ifft2c(y))) < 1e-3
    torch.testing.assert_close(fft2c(x).abs().square().sum(), x.abs().square().sum())


@every("n_coils", [1, 4])
def test_sampling_everything_loses_nothing(n_coils: int, make_complex) -> None:
    """A^H A is the identity where everything is acquired and the coil maps have sum of squares 1."""
    x = make_complex(2, 1, 3, 7, 10)
    maps = coil_maps(n_coils, (7, 10), generator("maps"))[None, :, None].expand(2, -1, -1, -1, -1)
    full = torch.ones(2, 1, 3, 7, 10, dtype=torch.bool)
    again = adjoint_operator(forward_operator(x, full, maps), full, maps)
    torch.testing.assert_close(again, x, atol=1e-5, rtol=1e-5)


# -- honesty: what was not acquired is not there


@every("rubbish", [1e9, complex("nan"), complex("inf")])
def test_a_measurement_forgets_what_was_not_acquired(rubbish: complex, make_measurement) -> None:
    clean = make_measurement(c=2)
    dirty = Measurement(torch.where(clean.mask.unsqueeze(1), clean.kspace, rubbish), clean.mask)
    assert torch.equal(dirty.kspace, clean.kspace)
    assert torch.equal(gather_samples(dirty).values, gather_samples(clean).values)


@every("mask", sorted(MASKS))
@every("matrix", [None, (8, 8), (15, 9)])
def test_a_scan_is_measured_through_its_mask_alone(
    mask: str, matrix: tuple[int, int] | None, make_complex
) -> None:
    kspace = make_complex(1, 1, 4, 12, 10)
    lines = draw_mask(mask, 12, 4, 3, generator("lines"))[None, :, :, None]
    dirty = torch.where(lines, kspace, make_complex(1, 1, 4, 12, 10, seed="rubbish"))
    first, second = (measure(Scan("patient", kspace=k), lines, matrix) for k in (kspace, dirty))
    assert torch.equal(first.kspace, second.kspace) and torch.equal(first.mask, second.mask)


@every("name", sorted(CONTROLS))
def test_controls_show_less_never_more(name: str, make_measurement) -> None:
    measurement = make_measurement(b=3, z=2, c=2)
    before = measurement.kspace.clone()
    controlled = CONTROLS[name](measurement)
    assert controlled.mask.sum() <= measurement.mask.sum()
    assert controlled.kspace.shape == measurement.kspace.shape
    assert not torch.equal(controlled.kspace, measurement.kspace), "the control changed nothing"
    assert torch.equal(measurement.kspace, before), "the control wrote into what it was given"


# -- the set law: a grid and the same samples along a trajectory are the same thing


def test_a_grid_read_as_a_trajectory_gives_the_same_set(make_measurement) -> None:
    grid = make_measurement(c=2, ky=7, kx=6)
    spokes = torch.randperm(7, generator=generator("spokes"))
    path = kspace_coords(grid)[..., 2:][:, :, :, spokes]
    turned = Measurement(
        grid.kspace[:, :, :, :, spokes], grid.mask[:, :, :, spokes], None, path, image_shape=(7, 6)
    )
    kspace, mask = scatter_samples(gather_samples(turned), (1, 3, 7, 6))
    assert torch.equal(kspace, grid.kspace) and torch.equal(mask, grid.mask)


# -- simulation


def small_scan(case: str, n_slices: int = 1) -> Scan:
    """A disc that beats, with its labels: enough of a heart for laws."""
    y, x = torch.meshgrid(torch.arange(20.0) - 10, torch.arange(18.0) - 9, indexing="ij")
    start = 3 + seed_of(case) % 4
    sizes = torch.tensor([start + 1.0, start, start - 1.0, start])
    inside = ((y**2 + x**2).sqrt() < sizes.view(-1, 1, 1)).expand(n_slices, -1, -1, -1)
    image = 0.3 + 0.7 * inside.float()
    return Scan(case, image, labels=inside.long(), spacing_mm=(8.0, 2.0, 2.0), ed=0, es=2)


@every("phase", sorted(PHASES))
@every("n_coils", [1, 3])
def test_simulation_is_deterministic_and_keeps_the_truth(
    phase: str, n_coils: int, global_state_untouched: None
) -> None:
    scan = small_scan("law", n_slices=2)
    first, again, other = (
        simulate_scan(scan, phase=phase, n_coils=n_coils, snr=20.0, generator=generator(word))
        for word in "aab"
    )
    assert first.kspace.shape == (n_coils, 2, 4, 20, 18) and first.kspace.dtype == torch.complex64
    assert torch.equal(first.kspace, again.kspace) and not torch.equal(first.kspace, other.kspace)
    assert torch.equal(first.labels, scan.labels) and first.spacing_mm == scan.spacing_mm
    assert first.notes, "a simulated scan says so"


@every("phase", sorted(PHASES))
@every("n_coils", [1, 3])
def test_simulation_without_noise_gives_the_magnitude_back(phase: str, n_coils: int) -> None:
    scan = small_scan("law")
    simulated = simulate_scan(scan, phase=phase, n_coils=n_coils, generator=generator("law"))
    maps = None if simulated.coil_maps is None else simulated.coil_maps.unsqueeze(0)
    full = torch.ones(1, *scan.shape, dtype=torch.bool)
    image = adjoint_operator(simulated.kspace.unsqueeze(0), full, maps).abs()[0]
    torch.testing.assert_close(image / image.max(), scan.image / scan.image.max(), atol=1e-4, rtol=0)


# -- data sets


def cases_of(data: DataSet, split: str) -> Sequence[str]:
    try:
        return data.cases(None, split)
    except ValueError as error:
        if str(error).startswith("looking for"):
            pytest.skip(f"{data.name} is not on this machine: {error}")
        if data.stored and split == "test":
            return []  # whose test split was never published
        raise


@every("name", sorted(DATASETS))
def test_splits_share_no_case(name: str) -> None:
    chosen = {split: set(cases_of(DATASETS[name], split)[:5000]) for split in SPLITS}
    assert chosen["train"] and chosen["val"]
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not chosen[a] & chosen[b], f"{name}: {a} and {b} share cases"


@every("name", sorted(DATASETS))
def test_a_case_is_a_scan_in_our_axes_and_labels(name: str, global_state_untouched: None) -> None:
    data = DATASETS[name]
    case = cases_of(data, "val")[0]
    scan, again = data.read(None, case), data.read(None, case)
    values, same = (x.image if x.image is not None else x.kspace.abs()[0] for x in (scan, again))
    assert values.dtype == torch.float32 and values.ndim == 4
    assert values.min() >= 0 and values.max() > 0
    assert torch.equal(values, same)
    assert all(mm > 0 for mm in scan.spacing_mm)
    assert all(frame is None or 0 <= frame < scan.shape[1] for frame in (scan.ed, scan.es))
    if not data.labelled:
        assert scan.labels is None
        return
    assert scan.labels.dtype == torch.int64 and scan.labels.shape == scan.shape
    assert set(scan.labels.unique().tolist()) <= {IGNORE, *data.labelled}
    assert (scan.labels > 0).any()
    assert torch.equal(scan.labels, again.labels)


# -- tasks


def perfect_labels(targets: Targets) -> Prediction:
    """Logits (b, k, z, f, y, x) that are sure of every label."""
    return Prediction(40 * torch.nn.functional.one_hot(targets.labels.clamp(min=0), 4).movedim(-1, 1).float())


def perfect_image(targets: Targets) -> Prediction:
    return Prediction(image=targets.image)


def wrong_labels(targets: Targets) -> Prediction:
    return perfect_labels(replace(targets, labels=(targets.labels + 1) % 4))


def wrong_image(targets: Targets) -> Prediction:
    assert targets.image is not None
    return Prediction(image=targets.image.flip(-1))


def perfect_numbers(targets: Targets) -> Prediction:
    return Prediction(phenotypes=targets.phenotypes.nan_to_num(7.0))


def wrong_numbers(targets: Targets) -> Prediction:
    return Prediction(phenotypes=targets.phenotypes.nan_to_num(7.0) + 90)


def perfect_diseases(targets: Targets) -> Prediction:
    return Prediction(diseases=200 * (2 * targets.diseases.nan_to_num(0.0) - 1))


def wrong_diseases(targets: Targets) -> Prediction:
    return Prediction(diseases=-perfect_diseases(targets).diseases)


def perfect_kspace(targets: Targets) -> Prediction:
    return Prediction(kspace=targets.kspace)


def wrong_kspace(targets: Targets) -> Prediction:
    return Prediction(kspace=targets.kspace.flip(-1))


def joined(*parts: Callable[[Targets], Prediction]) -> Callable[[Targets], Prediction]:
    """All that several answers say."""

    def answer(targets: Targets) -> Prediction:
        said: dict[str, Tensor] = {}
        for part in parts:
            one = part(targets)
            said |= {name: x for name, x in vars(one).items() if isinstance(x, Tensor)}
        return Prediction(**said)

    return answer


def perfect_joint(targets: Targets) -> Prediction:
    return joined(perfect_numbers, perfect_diseases, six(perfect_labels), perfect_image)(targets)


def wrong_joint(targets: Targets) -> Prediction:
    return joined(wrong_numbers, wrong_diseases, six(wrong_labels), wrong_image)(targets)


def six(answer: Callable[[Targets], Prediction]) -> Callable[[Targets], Prediction]:
    """The same labels said by a model of six classes."""

    def padded(targets: Targets) -> Prediction:
        logits = answer(targets).logits
        return Prediction(torch.nn.functional.pad(logits, (0, 0, 0, 0, 0, 0, 0, 0, 0, 2)))

    return padded


def noisy(targets: Targets, n_classes: int = 4) -> Prediction:
    """An answer of every kind, neither right nor wholly wrong."""
    logits = torch.randn(3, n_classes, 1, 3, 9, 8, generator=generator("logits"))
    assert targets.image is not None
    noise = torch.randn(targets.image.shape, dtype=torch.complex64, generator=generator("image"))
    numbers = 100 + torch.randn(targets.phenotypes.shape, generator=generator("numbers"))
    diseases = torch.randn(targets.diseases.shape, generator=generator("diseases"))
    return Prediction(logits, targets.image + noise, phenotypes=numbers, diseases=diseases)


def one_case(noun: Targets | Prediction, i: int) -> Targets | Prediction:
    """Case i of a batch, alone."""
    parts = {name: x[i : i + 1] for name, x in vars(noun).items() if isinstance(x, Tensor)}
    return replace(noun, **parts)


# What a perfect answer to each task is, what a wrong one is, and which scores perfection has.
ANSWERS = {
    "segmentation": (perfect_labels, wrong_labels, {"dice_foreground": 1, "hd_foreground_px": 0}),
    "reconstruction": (
        perfect_image,
        wrong_image,
        {"psnr_db": float("inf"), "ssim": 1, "nmse": 0, "complex_psnr_db": float("inf"), "complex_ssim": 1},
    ),
    "phenotypes": (perfect_numbers, wrong_numbers, {"phenotype_error": 0}),
    "diagnosis": (perfect_diseases, wrong_diseases, {"disease_loss": 0}),
    "pretraining": (perfect_kspace, wrong_kspace, {"nmse": 0, "l1": 0}),
    "joint": (perfect_joint, wrong_joint, {"phenotype_error": 0, "dice_foreground": 1, "ssim": 1}),
}


def random_targets(b: int = 3) -> Targets:
    labels = torch.randint(0, 4, (b, 1, 3, 9, 8), generator=generator("targets"))
    labels[0, :, 1] = IGNORE  # frames nobody annotated
    image = torch.randn(b, 1, 3, 9, 8, dtype=torch.complex64, generator=generator("truth"))
    phenotypes = 100 + 20 * torch.randn(b, len(PHENOTYPES), generator=generator("phenotypes"))
    phenotypes[1, :3] = torch.nan  # that nobody measured
    diseases = torch.randint(0, 2, (b, len(DISEASES)), generator=generator("ill")).float()
    diseases[2, 1] = torch.nan
    return Targets(
        labels,
        image,
        spacing_mm=torch.tensor([[8.0, 2.0, 2.0]]).expand(b, -1),
        phenotypes=phenotypes,
        diseases=diseases,
        kspace=image.unsqueeze(1),
    )


@every("name", sorted(TASKS))
def test_a_perfect_prediction_scores_perfectly(name: str) -> None:
    targets, task = random_targets(), TASKS[name]()
    perfect, wrong, scores = ANSWERS[name]
    for row in task.score(perfect(targets), targets):
        assert {key: row[key] for key in scores} == scores
    assert task.loss(perfect(targets), targets) < 1e-3 < 0.5 < task.loss(wrong(targets), targets)


@every("name", sorted(TASKS))
def test_progress_is_higher_for_the_better_answer_and_ignores_the_batch(name: str) -> None:
    targets, task = random_targets(), TASKS[name]()
    perfect, wrong, _ = ANSWERS[name]
    better, worse = (task.progress(answer(targets), targets) for answer in (perfect, wrong))
    assert len(better) == 3 and all(good > bad for good, bad in zip(better, worse))
    answer = noisy(targets, 6 if name == "joint" else 4)
    some = task.progress(answer, targets)
    assert task.progress(one_case(answer, 1), one_case(targets, 1)) == pytest.approx(some[1:2])
    assert make_task(task_name(task), asdict(task)) == task


@every("name", sorted(TASKS))
def test_a_cases_score_ignores_its_batch(name: str, global_state_untouched: None) -> None:
    targets, task = random_targets(), TASKS[name]()
    answer = noisy(targets, 6 if name == "joint" else 4)
    together = task.score(answer, targets)
    for i in range(3):
        alone = task.score(one_case(answer, i), one_case(targets, i))
        assert alone[0] == pytest.approx(together[i], nan_ok=True)


# -- batches


def read_small(case: str) -> Scan:
    return small_scan(case)


ACQUISITION = Acquisition(matrix=(16, 16), fov_mm=None, masks=tuple(sorted(MASKS)))
CASES = [f"case-{i}" for i in range(5)]


def same(a: Batch, b: Batch) -> bool:
    tensors = zip((a.measurement.kspace, a.targets.labels), (b.measurement.kspace, b.targets.labels))
    return (
        a.cases == b.cases
        and a.accelerations == b.accelerations
        and all(torch.equal(*pair) for pair in tensors)
    )


def test_a_training_batch_is_a_function_of_its_step(global_state_untouched: None) -> None:
    first, again = (TrainingBatches(CASES, read_small, ACQUISITION, batch_size=3, frames=2) for _ in range(2))
    first(0)
    assert same(first(7), again(7)), "the history of a loader must not matter"
    assert not same(first(7), first(8))


@every("mask", sorted(MASKS))
def test_evaluation_measures_a_case_the_same_way_whoever_else_is_scored(mask: str) -> None:
    def one_by_one(cases: list[str], size: int) -> dict[str, Tensor]:
        batches = evaluation_batches(cases, read_small, ACQUISITION, 4.0, size, mask)
        return {name: k for batch in batches for name, k in zip(batch.cases, batch.measurement.kspace)}

    alone, together = one_by_one(CASES[4:], 1), one_by_one(CASES, 3)
    assert list(together) == CASES
    assert torch.equal(alone[CASES[4]], together[CASES[4]])


# -- names and options


@every("registry", [MODELS, MASKS, DATASETS, TASKS, PHASES, CONTROLS], ids=lambda r: "-".join(sorted(r)[:2]))
def test_names_are_plain_words(registry: dict[str, object]) -> None:
    assert registry
    for name in registry:
        assert name.isidentifier() and name == name.lower(), name


@every("name", sorted(MODELS))
def test_model_options_are_typed_and_have_defaults(name: str) -> None:
    """So that a recipe or the command line can set them, and a checkpoint can keep them as JSON."""
    for option in inspect.signature(MODELS[name]).parameters.values():
        assert option.default is not inspect.Parameter.empty, f"{name}: {option.name} has no default"
        assert option.annotation is not inspect.Parameter.empty, f"{name}: {option.name} has no type"
        plain = (int, float, bool, str, tuple, type(None))
        assert isinstance(option.default, plain), f"{name}: {option.name} is no plain value"
