"""Reconstructing a file: magnitude, phase and report from a reconstruction checkpoint."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from kwise.checkpoint import load_checkpoint, save_checkpoint
from kwise.cli import main
from kwise.data.kspace_file import write_scan
from kwise.fourier import fft2c, ifft2c
from kwise.models import MODELS
from kwise.operator import adjoint_operator
from kwise.predict import predict_file
from kwise.predict.reconstruction import reconstruct
from kwise.types import Scan

PLUS = {
    "width": 16, "heads": 2, "ffn": 16, "encoder_layers": 1, "lr_layers": 1, "hr_layers": 1,
    "refine_channels": (4, 6),
}  # fmt: skip


def save(folder: Path, model: str = "kspace_transformer_plus", matrix: tuple[int, int] = (12, 12)) -> Path:
    """An untrained reconstruction checkpoint."""
    options = PLUS if model == "kspace_transformer_plus" else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_checkpoint(
            folder, MODELS[model](**options), model, options,
            {"task": "reconstruction", "matrix": list(matrix), "classes": []},
        )  # fmt: skip
    return folder


def scan(make_complex, n_coils: int = 1, full: bool = False) -> Scan:
    mask = torch.zeros(1, 2, 14, 1, dtype=torch.bool)
    mask[:, :, 4:11] = True
    mask[:, 1, 2] = True
    kspace = make_complex(n_coils, 1, 2, 14, 10)
    mask = (torch.ones_like(mask) if full else mask).expand(1, 2, 14, 10)
    return Scan("brain", kspace=kspace, mask=mask, spacing_mm=(5.0, 1.5, 2.0), frame_ms=40.0)


def test_a_file_becomes_magnitude_phase_and_report(make_complex, tmp_path: Path, capsys) -> None:
    measured = scan(make_complex)
    write_scan(tmp_path / "x.h5", measured)
    checkpoint = save(tmp_path / "ck", matrix=(8, 8))
    words = ["predict", tmp_path / "x.h5", "-o", tmp_path / "out", "--checkpoint", checkpoint]
    assert main([str(word) for word in words]) == 0
    assert "reconstruction.nii.gz" in capsys.readouterr().out
    size, phase = (
        nibabel.load(tmp_path / "out" / f"{name}.nii.gz") for name in ("reconstruction", "phase")
    )  # fmt: skip
    assert size.shape == phase.shape == (10, 14, 1, 2)
    assert np.allclose(size.header.get_zooms(), (2.0, 1.5, 5.0, 40.0))
    image = torch.from_numpy(size.get_fdata() * np.exp(1j * phase.get_fdata())).permute(2, 3, 1, 0)
    kept = torch.where(measured.mask, fft2c(image), 0).to(torch.complex64)[None]
    torch.testing.assert_close(kept, torch.where(measured.mask, measured.kspace, 0), atol=1e-4, rtol=1e-4)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Reconstructed" in page and "the model learned on 8 x 8" in page
    assert not (tmp_path / "out" / "segmentation.nii.gz").exists()


def test_a_full_measurement_is_its_own_answer(make_complex, tmp_path: Path) -> None:
    loaded = load_checkpoint(save(tmp_path / "ck"), MODELS)
    full = scan(make_complex, full=True)
    found = reconstruct(full, loaded)
    torch.testing.assert_close(found.image, ifft2c(full.kspace[0]).abs())
    torch.testing.assert_close(found.phase, ifft2c(full.kspace[0]).angle())
    assert found.seen.startswith("nothing")


def test_coils_without_maps_get_them_from_the_centre(make_complex, tmp_path: Path) -> None:
    loaded = load_checkpoint(save(tmp_path / "ck", "zero_filled"), MODELS)
    found = reconstruct(scan(make_complex, n_coils=3), loaded)
    assert found.image.shape == (1, 2, 14, 10) and bool(torch.isfinite(found.image).all())
    single = scan(make_complex)
    image = adjoint_operator(single.kspace[None], single.mask[None])[0]
    torch.testing.assert_close(reconstruct(single, loaded).image, image.abs())


def test_a_model_that_does_not_reconstruct_is_refused(make_complex, tmp_path: Path, save_tiny) -> None:
    write_scan(tmp_path / "x.h5", scan(make_complex))
    checkpoint = save_tiny(tmp_path / "ck", {"task": "reconstruction"})
    with pytest.raises(ValueError, match="reconstructing: got no image from SynNet; wanted a reconstruction"):
        predict_file(tmp_path / "x.h5", tmp_path / "out", checkpoint)
    assert not (tmp_path / "out").exists()


def test_a_scanners_kspace_is_reconstructed_from_its_own_mask(real_data: Path, tmp_path: Path) -> None:
    raw = real_data / "raw"
    words = [
        "convert",
        str(raw / "cine_sax.mat"),
        str(tmp_path / "p.h5"),
        "--mask",
        str(raw / "cine_sax_mask_Uniform8.mat"),
    ]
    assert main(words) == 0
    found = predict_file(tmp_path / "p.h5", tmp_path / "out", save(tmp_path / "ck", "zero_filled"))
    assert found.image.shape == (1, 1, 246, 512) and found.image.max() > 0
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "reconstruction.nii.gz",
        "phase.nii.gz",
        "report.html",
    }
