"""3-D MRD scans: partitions become slices, where they lie, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.data.raw import open_any
from kwise.fourier import fft1c
from raw_files import SPACING, kspace_of, mrd_header, mrd_row, write_mrd_rows

C, Z, T, KY, KX = 2, 6, 2, 8, 10


def header(z: int = Z, limits: str = "") -> str:
    """The header of a slab of `z` partitions of the usual thickness."""
    text = mrd_header(KY, KX).replace("<z>1</z>", f"<z>{z}</z>")
    text = text.replace(f"<z>{SPACING[0]}</z>", f"<z>{SPACING[0] * z}</z>")
    return text.replace("</encodingLimits>", limits + "</encodingLimits>")


def slab(path: Path, keep: slice = slice(None), every: int = 1, text: str | None = None) -> np.ndarray:
    """Write a slab whose slices are known (c, z, t, ky, kx)."""
    slices = kspace_of(C, Z, T, KY, KX) * (1 + np.arange(Z, dtype=np.float32)[:, None, None, None])
    encoded = fft1c(torch.from_numpy(slices.astype(np.complex64)), 1).numpy()
    rows = [
        mrd_row(encoded[:, kz, t, ky], kspace_encode_step_1=ky, kspace_encode_step_2=kz, phase=t)
        for kz in range(Z)[keep]
        for t in range(T)
        for ky in range(0, KY, every)
    ]
    write_mrd_rows(path, header() if text is None else text, rows)
    return slices


def test_partitions_become_slices(tmp_path: Path) -> None:
    slices = slab(tmp_path / "x.h5", every=2)
    scan = open_any(tmp_path / "x.h5")
    assert scan.kspace.shape == (C, Z, T, KY, KX) and "6 partitions" in scan.notes["3-D"]
    kept = torch.zeros(KY, dtype=torch.bool)
    kept[::2] = True
    assert torch.equal(scan.mask, kept[:, None].expand(Z, T, KY, KX))
    wanted = torch.from_numpy(slices) * kept[:, None]
    torch.testing.assert_close(scan.kspace, wanted.to(torch.complex64), rtol=1e-4, atol=1e-4)
    assert scan.spacing_mm == pytest.approx(SPACING)
    # The position that MRD tells is the middle of the slab.
    middle = scan.affine @ torch.tensor([KX // 2, KY // 2, Z // 2, 1], dtype=torch.float64)
    torch.testing.assert_close(middle[:3], torch.tensor([-3.0, -4.0, 5.0], dtype=torch.float64))


def test_some_slices_of_a_slab_are_those_of_the_whole(tmp_path: Path) -> None:
    slab(tmp_path / "x.h5")
    whole, some = open_any(tmp_path / "x.h5"), open_any(tmp_path / "x.h5", slices=slice(1, 5, 2))
    torch.testing.assert_close(some.kspace, whole.kspace[:, 1:5:2])
    assert some.spacing_mm[0] == pytest.approx(2 * whole.spacing_mm[0])


def test_partial_fourier_along_partitions_is_told(tmp_path: Path) -> None:
    slab(tmp_path / "x.h5", keep=slice(0, 5))
    scan = open_any(tmp_path / "x.h5")
    assert scan.kspace.shape[1] == Z and "1 of them not acquired" in scan.notes["3-D"]


def test_the_centre_partition_is_that_of_the_header(tmp_path: Path) -> None:
    limits = (
        "<kspace_encoding_step_2><minimum>0</minimum><maximum>5</maximum><center>2</center>"
        "</kspace_encoding_step_2>"
    )
    slab(tmp_path / "x.h5", text=header(limits=limits))
    scan = open_any(tmp_path / "x.h5")
    assert scan.kspace.shape[1] == 2 * 6 - 2 * 2 - 1 and "beyond the header" in scan.notes["partitions"]
