"""Files of spokes and arms: MRD with positions in any of three units, kwise's layout, and the command line.
"""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from kwise.cli import main
from kwise.data.kspace_file import read_scan, write_scan
from kwise.data.raw import open_any
from kwise.data.raw_mrd_write import write_mrd
from kwise.sampling import TRAJECTORIES, draw_trajectory
from kwise.seeding import generator
from kwise.types import Scan
from raw_files import mrd_header, mrd_row, write_mrd_rows

SPACING = (8.0, 2.0, 1.5)


def along(name: str, shape: tuple[int, int] = (12, 10), n_coils: int = 2) -> Scan:
    """Two slices, three frames of noise along a trajectory, frames with different numbers of spokes."""
    paths = [draw_trajectory(name, shape, 3, 2.5, generator("file", z)) for z in range(2)]
    positions = torch.stack([path.positions for path in paths])
    mask = torch.stack([path.mask for path in paths]).unsqueeze(-1).expand(positions.shape[:-1])
    kspace = torch.randn(n_coils, *mask.shape, dtype=torch.complex64, generator=generator("values"))
    return Scan(
        "spokes", kspace=kspace * mask, mask=mask.contiguous(), trajectory=positions, image_shape=shape,
        spacing_mm=SPACING, notes={"lines": name},
        affine=torch.diag(torch.tensor([1.5, 2.0, 8.0, 1.0], dtype=torch.float64)),
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(TRAJECTORIES))
def test_spokes_and_arms_come_back_from_mrd(name: str, tmp_path: Path) -> None:
    scan = along(name)
    write_mrd(tmp_path / "a.mrd.h5", scan)
    back = open_any(tmp_path / "a.mrd.h5")
    assert back.kspace is not None and back.trajectory is not None and back.mask is not None
    assert torch.equal(back.mask, scan.mask) and torch.equal(back.kspace, scan.kspace)
    kept = scan.mask.unsqueeze(-1)
    torch.testing.assert_close(back.trajectory * kept, scan.trajectory * kept, atol=1e-5, rtol=0)
    assert back.shape == scan.shape and back.spacing_mm == pytest.approx(SPACING)
    torch.testing.assert_close(back.affine, scan.affine, atol=1e-4, rtol=0)
    assert "cycles per pixel" in back.notes["trajectory"] and back.notes["lines"] == name
    with h5py.File(tmp_path / "a.mrd.h5") as file:
        words = {"golden_angle_radial": b"goldenangle", "spiral": b"spiral"}
        assert b"<trajectory>" + words[name] in file["dataset/xml"][0]


def spokes_file(
    path: Path, unit: Tensor, *, columns: int = 2, cut: int = 0, header: str | None = None
) -> Path:
    """A radial MRD file of 8 x 8 whose positions are multiplied by `unit` (kx, ky)."""
    text = mrd_header(8, 8) if header is None else header
    radius = (np.arange(8) - 4) / 8
    rows = []
    for i, angle in enumerate((0.1, 1.2, 2.3)):
        row = mrd_row(np.full((2, 8), 1 + 1j * i, np.complex64), phase=0)
        place = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) * unit.numpy()
        place = np.pad(place, ((0, 0), (0, columns - 2)))
        row["traj"][0] = place.astype(np.float32).ravel()[: 8 * columns - cut]
        rows.append(row)
    return write_mrd_rows(path, text.replace(">cartesian<", ">radial<"), rows)


UNITS = {
    "cycles per pixel": torch.ones(2),
    "cycles per field of view": torch.tensor([8.0, 8.0]),
    "1/m": torch.tensor([1000 / 1.5, 1000 / 2.0]),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("columns", [2, 3])
def test_positions_may_have_any_of_three_units(unit: str, columns: int, tmp_path: Path) -> None:
    scan = open_any(spokes_file(tmp_path / "a.h5", UNITS[unit], columns=columns))
    assert scan.notes["trajectory"] == f"radial, positions in {unit}"
    assert scan.kspace is not None and scan.kspace.shape == (2, 1, 1, 3, 8) and scan.shape == (1, 1, 8, 8)
    angles = torch.tensor([0.1, 1.2, 2.3])
    wanted = -0.5 * torch.stack([angles.sin(), angles.cos()], dim=1)
    assert scan.trajectory is not None
    torch.testing.assert_close(scan.trajectory[0, 0, :, 0], wanted, atol=1e-4, rtol=0)


def test_readout_oversampling_widens_the_encoded_pixels(tmp_path: Path) -> None:
    """Positions per encoded pixel become positions per pixel of the image; what lies beyond is not acquired.
    """
    header = mrd_header(8, 8).replace("<reconSpace><matrixSize><x>8</x>", "<reconSpace><matrixSize><x>4</x>")
    scan = open_any(spokes_file(tmp_path / "a.h5", torch.ones(2), header=header))
    assert scan.shape[2:] == (8, 4) and scan.spacing_mm == pytest.approx((8.0, 2.0, 3.0))
    assert scan.mask is not None and scan.trajectory is not None
    assert 0 < int(scan.mask.sum()) < scan.mask.numel()
    assert float(scan.trajectory.abs().max()) <= 0.5


BAD = {
    "no positions": ({"cut": 16}, "with 0 numbers of trajectory for 8 samples"),
    "too few positions": ({"cut": 3}, "with 13 numbers of trajectory"),
    "no known unit": ({"unit": torch.tensor([1e6, 1e6])}, "wanted cycles per pixel, cycles per field"),
    "not finite": ({"unit": torch.tensor([float("nan"), 1.0])}, "wanted two or three finite numbers"),
    "no matrix": ({"header": "no matrix"}, "without encodedSpace.matrixSize"),
}


@pytest.mark.parametrize("name", BAD)
def test_positions_that_cannot_be_believed_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    options, message = BAD[name]
    options = {"unit": torch.ones(2), **options}
    if options.get("header") == "no matrix":
        options["header"] = mrd_header(8, 8, without="encodedSpace")
    with pytest.raises(ValueError, match=message) as error:
        open_any(spokes_file(tmp_path / "a.h5", **options))
    assert "\n" not in str(error.value) and "a.h5" in str(error.value)


def test_from_simulation_to_an_answer_by_the_command_line(tmp_path: Path, capsys) -> None:
    file, mrd = tmp_path / "r.h5", tmp_path / "r.mrd.h5"
    words = ["simulate", "--case", "heart-demo-000001", "--acceleration", "8"]
    assert main([*words, "--mask", "golden_angle_radial", "-o", str(file)]) in (None, 0)
    assert "R = 8.00 achieved" in capsys.readouterr().out
    assert main(["info", str(file)]) in (None, 0)
    told = capsys.readouterr().out
    assert "8 of 64 points" in told and "ky down, kx across" in told
    assert main(["convert", str(file), str(mrd)]) in (None, 0)
    assert main(["info", str(mrd)]) in (None, 0)
    told = capsys.readouterr().out
    assert "positions in cycles per pixel" in told and "models that fit" in told and "demo" in told
    assert main(["predict", str(file), "-o", str(tmp_path / "out")]) in (None, 0)
    dice = [float(part.split()[-1]) for part in capsys.readouterr().out.splitlines()[2].split(", ")]
    assert min(dice) > 0.8, "lines taught the model, spokes are gridded for it"
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_kwise_file_of_arms_converts_both_ways(tmp_path: Path) -> None:
    scan = along("spiral")
    write_scan(tmp_path / "a.h5", scan)
    write_mrd(tmp_path / "a.mrd.h5", read_scan(tmp_path / "a.h5"))
    again = open_any(tmp_path / "a.mrd.h5")
    write_scan(tmp_path / "b.h5", replace(again, case="spokes"))
    back = read_scan(tmp_path / "b.h5")
    assert torch.equal(back.kspace, scan.kspace) and back.image_shape == scan.image_shape
