"""Ours: harmonic U-Net as one encoder of all views, and all answers of k-MTR in one forward pass.

The trunk, trained on labels and images, says what is where in every view and frame, from the undersampled
k-space of any R. Phenotypes and diseases are linear in the sizes of what it segments: their weights are
solved for, not searched, from one look at the training subjects after it ("heads"). So views that are missing
are left out of the regression exactly, and every number comes with its own error.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kwise.coordinates import line_radius
from kwise.gridding import gridded
from kwise.models.answer import EVERYTHING, finish_answer, query_frames, robust_scale, unfold_slices
from kwise.models.grids import finish_images
from kwise.models.harmonic_unet import HarmonicUNet, level_of
from kwise.models.heart_sizes import size_features, size_resolution
from kwise.models.kmtr import frames_of
from kwise.models.kmtr_encoders import kinds_of, views_seen
from kwise.models.kmtr_heads import error_over_sd, guess_line
from kwise.nn.blend import Blend
from kwise.nn.moment_regression import MomentRegression
from kwise.phenotypes import DISEASES, PHENOTYPES
from kwise.types import Batch, Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]
N_PHENOTYPES = len(PHENOTYPES)
_IMAGED = 50  # batches of the stage "heads" that the blend of images is fitted to


class HarmonicJoint(nn.Module):
    """Segmentation and image by a harmonic U-Net without its support regression, every view on its own;
    phenotypes and diseases by closed-form regression on sizes at `n_phases` even phases of the cycle, which
    the harmonics know whatever frames were measured.

    Other options are those of `HarmonicUNet`. Stage "trunk" is trained by gradients, stage "heads" is solved
    for.
    """

    stages = ("trunk",)
    fitted_stages = ("heads",)

    def __init__(
        self,
        *,
        n_classes: int = 6,
        channels: tuple[int, ...] = (32, 64, 96),
        n_banks: int = 3,
        n_harmonics: int = 5,
        block: int = 2,
        n_phases: int = 5,
    ) -> None:
        super().__init__()
        self.n_banks, self.n_phases = n_banks, n_phases
        self.trunk = HarmonicUNet(
            n_classes=n_classes + 1, channels=channels, n_banks=n_banks, n_harmonics=n_harmonics, block=block,
            n_passes=0,
        )  # fmt: skip
        # Before it is solved for, the image is what the middle bank says and the correction.
        self.blend = Blend(n_banks + 1, (n_banks // 2, n_banks))
        n = N_PHENOTYPES + len(DISEASES)
        self.regression = MomentRegression(size_resolution(n_classes), n)
        self.slope: Tensor
        self.shift: Tensor
        self.threshold: Tensor
        self.sd_factor: Tensor
        self.register_buffer("slope", torch.ones(len(DISEASES)))
        self.register_buffer("shift", torch.zeros(len(DISEASES)))
        self.register_buffer("threshold", torch.full((len(DISEASES),), 0.5))
        self.register_buffer("sd_factor", torch.ones(N_PHENOTYPES))

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Every answer; phenotypes and diseases are of the whole cine whatever frames are asked for, and left
        out where the measurement does not tell its spacing: a size needs one.
        """
        b, t = len(measurement.kspace), measurement.n_frames
        frames = query_frames(query, b, t, measurement.kspace.device)
        if measurement.spacing_mm is None:
            return self._finish(*self.see(measurement, frames), measurement, query)
        phases, n = self._phases(measurement), frames.shape[1]
        # Where all the phases that count were asked for anyway, they are seen once.
        among = phases.unsqueeze(2) == frames.unsqueeze(1)  # (b, p, f)
        if bool(among.any(dim=2).all()):
            times, where = frames, among.int().argmax(dim=2)
        else:
            times = torch.cat([frames, phases], dim=1)
            where = torch.arange(n, times.shape[1], device=times.device).expand(b, -1)
        logits, image = self.see(measurement, times)
        values, sd = self.regression(*self.sizes(measurement, frames_of(logits, Query(frames=where))))
        ill = self.slope * values[:, N_PHENOTYPES:] + self.shift
        return replace(
            self._finish(logits[:, :, :, :n], image[:, :, :, :n], measurement, query),
            phenotypes=values[:, :N_PHENOTYPES],
            phenotype_sd=sd[:, :N_PHENOTYPES] * self.sd_factor,
            diseases=ill,
            disease_threshold=self.threshold.expand(len(ill), -1),
        )

    def _phases(self, measurement: Measurement) -> Tensor:
        """(b, p) the even phases, counted in frames."""
        phases = torch.arange(self.n_phases, device=measurement.kspace.device)
        return (phases * (measurement.n_frames / self.n_phases)).expand(len(measurement.kspace), -1)

    def see(self, measurement: Measurement, times: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (b, k, z, f, y, x) and magnitudes (b, 1, z, f, y, x) in the units measured, at `times` (b,
        f) counted in frames, on the measured grid; zero in views of which nothing was acquired.
        """
        logits, parts, unit = self._look(measurement, times)
        share = self.regression.centred(self._log_share(measurement))
        image = self.blend(parts, share.repeat_interleave(measurement.n_slices)) * unit
        image = unfold_slices(image.unsqueeze(1), measurement.n_slices)
        there = views_seen(measurement)[:, None, :, None, None, None]
        return torch.where(there, logits, 0.0), torch.where(there, image, 0.0)

    def _look(self, measurement: Measurement, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (b, k, z, f, y, x); images (b * z, f, part, y, x) of every bank and a correction, in `unit`
        (b * z, 1, 1, 1).
        """
        folded = gridded(_with_something(measurement, views_seen(measurement)).fold_slices())
        frames = times.repeat_interleave(measurement.n_slices, dim=0)
        scale = robust_scale(folded)
        coefficients = self.trunk.alone(
            folded.kspace[:, :, 0] / scale.squeeze(2), folded.mask[:, 0], line_radius(folded)
        )
        channels = self.trunk.images(coefficients, folded, frames)  # (b * z, f, channel, y, x)
        said = self.trunk.segment(channels.flatten(0, 1)).unflatten(0, frames.shape)
        moduli = channels[:, :, self.n_banks + 4 : 2 * self.n_banks + 4]  # they stand behind signed channels
        parts = torch.cat([moduli, said[:, :, -1:]], dim=2)
        unit = (scale.flatten() * level_of(coefficients))[:, None, None, None]
        logits = unfold_slices(said[:, :, :-1].transpose(1, 2), measurement.n_slices)
        return logits, parts, unit

    @torch.no_grad()
    def sizes(self, measurement: Measurement, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Features (b, f) of logits (b, k, z, p, y, x) at the even phases, and the log (b,) of the share of
        k-space acquired. Without a gradient: the trunk learns from labels alone.
        """
        spacing = measurement.spacing_mm
        if spacing is None:
            raise ValueError("measuring sizes: got a measurement without spacing; wanted spacing_mm in mm")
        probabilities = logits.float().softmax(dim=1)
        seen = views_seen(measurement)
        found = size_features(probabilities, spacing.to(probabilities), kinds_of(measurement), seen)
        return found, self._log_share(measurement)

    def _log_share(self, measurement: Measurement) -> Tensor:
        """(b,) the log of the share of k-space acquired, of views of which anything was."""
        seen = views_seen(measurement)
        acquired = measurement.mask.flatten(2).float().mean(dim=2)
        return ((acquired * seen).sum(dim=1) / seen.sum(dim=1)).log()

    def _finish(self, logits: Tensor, image: Tensor, measurement: Measurement, query: Query) -> Prediction:
        answer = finish_images(image.squeeze(1).to(torch.complex64), measurement, query)
        assert answer.image is not None
        answer = replace(answer, image=answer.image.abs())
        folded = logits.transpose(1, 2).flatten(0, 1)
        return replace(answer, logits=finish_answer(folded, measurement, query))

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """The loss of labels and images at the queried frames."""
        if stage != "trunk":
            raise ValueError(f"training harmonic_joint: got stage {stage!r}; wanted trunk (heads are solved)")
        b, t = len(measurement.kspace), measurement.n_frames
        frames = query_frames(targets.query, b, t, measurement.kspace.device)
        said = self._finish(*self.see(measurement, frames), measurement, targets.query)
        return task_loss(said, replace(targets, phenotypes=None, diseases=None))

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch]) -> None:
        """Solve for the heads, and for the blend of images on the first batches with a reference; ValueError,
        naming the disease, where all cases are of one class.
        """
        features, values, shares = [], [], []
        imaged: list[Batch] = []
        for batch in batches:
            if batch.targets.image is not None and len(imaged) < _IMAGED:
                imaged.append(batch)
            targets = batch.targets
            if targets.phenotypes is None or targets.diseases is None:
                raise ValueError("fitting harmonic_joint: got cases without phenotypes and diseases")
            logits, _ = self.see(batch.measurement, self._phases(batch.measurement))
            seen, share = self.sizes(batch.measurement, logits)
            features.append(seen)
            shares.append(share)
            values.append(torch.cat([targets.phenotypes, targets.diseases], dim=1))
        truth = torch.cat(values)
        left_out = self.regression.fit(torch.cat(features), truth, torch.cat(shares))
        self._fit_diseases(left_out[:, N_PHENOTYPES:], truth[:, N_PHENOTYPES:])
        if imaged:
            self.blend.fit(map(self._imaged, imaged))

    def _imaged(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What the blend is fitted to, slice by slice: parts, centred log share, the image in their unit."""
        measurement, image = batch.measurement, batch.targets.image
        assert image is not None
        b, t = len(measurement.kspace), measurement.n_frames
        frames = query_frames(batch.targets.query, b, t, measurement.kspace.device)
        _, parts, unit = self._look(measurement, frames)
        share = self.regression.centred(self._log_share(measurement))
        share = share.repeat_interleave(measurement.n_slices)
        return parts, share, image.abs().flatten(0, 1) / unit

    def _fit_diseases(self, said: Tensor, truth: Tensor) -> None:
        """Platt's line through the linear guesses of cases left out, and the threshold of the best F1."""
        for i, name in enumerate(DISEASES):
            known = torch.isfinite(truth[:, i])
            guess, ill = said[known, i].double(), truth[known, i].double()
            line = guess_line(name, guess, ill, "fitting diseases", "cases")
            self.slope[i], self.shift[i], self.threshold[i] = line

    def calibrate(self, answers: Iterable[tuple[Prediction, Targets]]) -> None:
        """Widen or narrow the sd of each phenotype until errors of validation cases have it on average."""
        self.sd_factor.mul_(error_over_sd(answers, self.sd_factor))


def _with_something(measurement: Measurement, seen: Tensor) -> Measurement:
    """The measurement with one zero sample in views of which nothing was acquired: a view alone has to hold
    something.
    """
    if bool(seen.all()):
        return measurement
    mask = measurement.mask.clone()
    mask[..., mask.shape[-2] // 2, mask.shape[-1] // 2] |= ~seen.unsqueeze(-1)
    return replace(measurement, mask=mask)
