"""Where slices and frames of raw files belong: by place as well as by counter; uneven ones are told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.data.raw import open_any
from kwise.predict.measures import knows_pitch
from raw_files import kspace_of, mrd_header, mrd_row, mrd_rows, write_dicom, write_mrd_rows

C, Z, T, KY, KX = 2, 4, 3, 12, 10
Change = Callable[[np.ndarray], None]


def mrd(path: Path, change: Change, kspace: np.ndarray | None = None) -> Path:
    """An MRD file whose readout headers `change` alters one by one."""
    rows = mrd_rows(kspace_of(C, Z, T, KY, KX) if kspace is None else kspace)
    for row in rows:
        change(row["head"][0])
    return write_mrd_rows(path, mrd_header(KY, KX), rows)


def put(*places: float) -> Change:
    """Slices at these heights in mm."""

    def change(head: np.ndarray) -> None:
        head["position"] = (3, 4, places[head["idx"]["slice"]])

    return change


def no_counter(head: np.ndarray) -> None:
    head["idx"]["slice"] = 0


def test_mrd_slices_told_by_place_alone_are_slices(tmp_path: Path) -> None:
    truth = kspace_of(C, Z, T, KY, KX)
    scan = open_any(mrd(tmp_path / "m.h5", no_counter, truth))
    assert scan.kspace is not None and torch.allclose(scan.kspace, torch.from_numpy(truth), atol=1e-4)
    assert "4 places under 1 slice number" in scan.notes["slices"] and scan.spacing_mm[0] == 10
    assert "averaged" not in scan.notes


def moved(head: np.ndarray) -> None:
    """Another place from one frame to the next: no slice has all frames."""
    head["position"][2] += 40 * head["idx"]["phase"]


def drifting(head: np.ndarray) -> None:
    head["position"][2] += 0.4 * head["idx"]["kspace_encode_step_1"]


def nodding(head: np.ndarray) -> None:
    head["slice_dir"] = (0, 0, 1) if head["idx"]["phase"] else (0, 0.1, 0.995)


@pytest.mark.parametrize("change", [moved, drifting, nodding])
def test_mrd_slices_of_no_one_place_are_refused(change: Change, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got readouts of slice 0 from .*; wanted one place and direction"):
        open_any(mrd(tmp_path / "m.h5", change))


def test_breathing_within_a_millimetre_is_one_place(tmp_path: Path) -> None:
    def change(head: np.ndarray) -> None:
        head["position"][2] += 0.05 * head["idx"]["kspace_encode_step_1"]

    assert "slices" not in open_any(mrd(tmp_path / "m.h5", change)).notes


def test_mrd_gaps_are_told_and_no_volume_is_measured(tmp_path: Path) -> None:
    path = mrd(tmp_path / "gap.h5", put(40, 0, 16, 8))
    scan = open_any(path)
    assert scan.notes["slice distance"].startswith("uneven, 8, 8, 24 mm") and not knows_pitch(scan)
    even = open_any(path, slices=slice(0, 3))
    assert knows_pitch(even) and even.spacing_mm[0] == 8 and even.affine is not None
    far = open_any(path, slices=slice(2, 4))
    assert far.spacing_mm[0] == 24 and knows_pitch(far) and far.affine is not None
    assert float(far.affine[2, 3]) == 16 and float(far.affine[2, 2]) == 24
    assert knows_pitch(open_any(mrd(tmp_path / "even.h5", put(0, 8.1, 16, 24))))


def test_mrd_slices_of_several_planes_are_refused_but_by_themselves(tmp_path: Path) -> None:
    def change(head: np.ndarray) -> None:
        if head["idx"]["slice"] == 3:
            head["slice_dir"], head["phase_dir"] = (0, 1, 0), (0, 0, 1)

    path = mrd(tmp_path / "lax.h5", change)
    with pytest.raises(ValueError, match=r"got slices 3 \(from 0\) turned against slice 0; .*--slices"):
        open_any(path)
    assert open_any(path, slices=slice(0, 3)).spacing_mm[0] == 10
    long = open_any(path, slices=3)
    assert long.shape[0] == 1 and long.affine is not None
    assert long.affine[:3, 2].abs().argmax() == 1  # along its own normal
    assert torch.equal(long.kspace, open_any(mrd(tmp_path / "x.h5", lambda head: None), slices=3).kspace)


def test_mrd_frames_without_a_line_are_named(tmp_path: Path) -> None:
    rows = [
        row
        for row in mrd_rows(kspace_of(C, Z, T, KY, KX))
        if not (row["head"]["idx"]["slice"][0] == 1 and row["head"]["idx"]["phase"][0] == 2)
    ]
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows))
    assert scan.notes["no line"] == "1 of 12 frames hold no line: (slice, frame) (1, 2), from 0"
    assert "no line" not in open_any(mrd(tmp_path / "all.h5", lambda head: None)).notes


def test_mrd_repetitions_fill_each_other(tmp_path: Path) -> None:
    truth = kspace_of(C, 1, T, KY, KX)
    rows = [
        mrd_row(truth[:, 0, t, ky], kspace_encode_step_1=ky, phase=t, repetition=ky % 2)
        for t in range(T)
        for ky in range(KY)
    ]
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows))
    assert scan.kspace is not None and torch.allclose(scan.kspace, torch.from_numpy(truth), atol=1e-4)
    assert "2 repetitions of 3 phases, joined" in scan.notes["frames"] and bool(scan.mask.all())
    for row in rows:
        row["head"]["idx"]["repetition"], row["head"]["idx"]["phase"] = row["head"]["idx"]["phase"], 0
    live = open_any(write_mrd_rows(tmp_path / "r.h5", mrd_header(KY, KX), rows))
    assert live.shape[1] == T and "frames" not in live.notes  # one phase alone: repetitions are frames


def test_dicom_gaps_are_told_and_no_volume_is_measured(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    for z in (0, 8, 16, 40):
        write_dicom(tmp_path / f"{z}", np.full((KY, KX), 7), ImagePositionPatient=[0, 0, z])
    scan = open_any(tmp_path)
    assert scan.notes["slice distance"].startswith("uneven, 8, 8, 24 mm") and not knows_pitch(scan)
    (tmp_path / "40").unlink()
    assert knows_pitch(open_any(tmp_path))
