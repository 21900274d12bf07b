"""Readers of raw formats: what a file of each true format holds comes out in our axes; notes say the rest."""

import gzip
import os
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from kwise.data.acdc import read_patient
from kwise.data.kspace_file import write_scan
from kwise.data.raw import FORMATS, format_of, open_any, with_kspace
from kwise.data.raw_mrd_write import write_mrd
from kwise.fourier import ifft2c
from kwise.types import Scan
from raw_files import (
    SPACING,
    kspace_of,
    mrd_header,
    mrd_row,
    mrd_rows,
    write_cfl,
    write_dicom,
    write_fastmri,
    write_mat5,
    write_mat73,
    write_mrd_rows,
)

every = pytest.mark.parametrize
C, Z, T, KY, KX = 3, 2, 4, 12, 10


def close(a: torch.Tensor | None, b: np.ndarray | torch.Tensor) -> bool:
    assert a is not None
    return a.shape == b.shape and torch.allclose(a, torch.as_tensor(b), atol=1e-4)


# -- MRD


def test_mrd_comes_out_in_our_axes(tmp_path: Path) -> None:
    truth = kspace_of(C, Z, T, KY, KX)
    scan = open_any(write_mrd_rows(tmp_path / "any.name", mrd_header(KY, KX), mrd_rows(truth)))
    assert close(scan.kspace, truth) and scan.mask is not None and bool(scan.mask.all())
    assert scan.spacing_mm == pytest.approx((10.0, 2.0, 1.5))  # 10 mm between the slices' positions
    assert scan.frame_ms == 42.5 and "prewhitened" not in scan.notes
    assert scan.affine is not None
    centre = scan.affine @ torch.tensor([KX // 2, KY // 2, 1, 1], dtype=torch.float64)
    assert centre.tolist() == pytest.approx(
        [-3, -4, 15, 1]
    )  # MRD's left, back, up as NIfTI's right, front, up


OPTIONAL = (
    "version", "subjectInformation", "measurementInformation", "reconSpace", "encodingLimits", "trajectory",
    "sequenceParameters", "encodedSpace",
)  # fmt: skip


@every("without", OPTIONAL)
def test_mrd_without_an_optional_field(without: str, tmp_path: Path) -> None:
    truth = kspace_of(C, 1, T, KY, KX)
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX, without=without), mrd_rows(truth)))
    assert close(scan.kspace, truth)
    if without in ("reconSpace", "encodingLimits", "trajectory", "encodedSpace"):
        assert without in scan.notes["missing in the header"]
    if without == "encodedSpace":
        assert scan.spacing_mm == (1, 1, 1) and "does not tell" in scan.notes["spacing"]


@every("header", [None, "<ismrmrdHeader/>"])
def test_mrd_without_any_header(header: str | None, tmp_path: Path) -> None:
    truth = kspace_of(C, 1, 1, KY, KX)
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", header, mrd_rows(truth), group="other"))
    assert close(scan.kspace, truth) and "encodingLimits" in scan.notes["missing in the header"]


def test_mrd_readout_oversampling_is_removed(tmp_path: Path) -> None:
    fine = kspace_of(C, 1, T, KY, 2 * KX)
    rows = mrd_rows(fine)
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX, oversampling=2), rows))
    assert scan.shape == (1, T, KY, KX) and scan.spacing_mm[2] == 1.5
    whole = ifft2c(torch.from_numpy(fine))[..., KX // 2 : KX // 2 + KX]
    assert scan.kspace is not None and close(ifft2c(scan.kspace), whole)
    assert "20 to 10" in scan.notes["readout oversampling"]


def test_mrd_partial_fourier_and_asymmetric_echo_stay_unacquired(tmp_path: Path) -> None:
    truth = kspace_of(C, 1, 1, KY, KX)
    rows = [
        mrd_row(truth[:, 0, 0, ky, 3:], center=KX // 2 - 3, kspace_encode_step_1=ky) for ky in range(4, KY)
    ]
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows))
    assert scan.mask is not None and scan.kspace is not None
    assert bool(scan.mask[..., 4:, 3:].all()) and int(scan.mask.sum()) == (KY - 4) * (KX - 3)
    assert close(scan.kspace[..., 4:, 3:], truth[..., 4:, 3:])
    header = mrd_header(8, KX).replace("<center>4</center>", "<center>2</center>")  # DC is line 2 of 8
    rows = [mrd_row(truth[:, 0, 0, 4 + i], kspace_encode_step_1=i) for i in range(8)]
    scan = open_any(write_mrd_rows(tmp_path / "p.h5", header, rows))
    assert scan.shape == (1, 1, 11, KX) and close(scan.kspace[:, :, :, 3:], truth[..., 4:, :])
    assert scan.mask is not None and not bool(scan.mask[..., :3, :].any())


def test_mrd_averages_reversal_repetitions_and_what_is_no_image(tmp_path: Path) -> None:
    truth = kspace_of(C, 1, 6, KY, KX)
    rows = [mrd_row(np.ones((C, KX)), flags=(bit,), kspace_encode_step_1=3) for bit in (20, 23, 24, 27)]
    for t in range(6):  # 2 repetitions of 3 phases; every line twice, once backwards
        for ky in range(KY):
            place = {"kspace_encode_step_1": ky, "phase": t % 3, "repetition": t // 3}
            line = truth[:, 0, t, ky]
            rows.append(mrd_row(line + 1, average=0, **place))
            backwards = mrd_row(line[:, ::-1] - 1, flags=(22,), average=1, **place)
            rows.append(backwards)
    rows.append(mrd_row(truth[:, 0, 0, 0] * 9, set=1))
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows))
    assert close(scan.kspace, (truth[:, :, :3] + truth[:, :, 3:]) / 2)
    told = scan.notes
    assert "4 readouts" in told["averaged"] and "2 repetitions of 3 phases" in told["frames"]
    assert told["left out: calibration"] == "1 readouts" and "set 0" in told["left out: another set"]
    assert told["left out: navigator or correction"] == "3 readouts"


def test_mrd_noise_scans_whiten_the_coils(tmp_path: Path) -> None:
    mixing = np.array([[1, 0.5, 0], [0, 2, 1j], [0, 0, 0.5]])
    noise = np.einsum("cd,dn->cn", mixing, kspace_of(C, 1, 1, 1, 800)[:, 0, 0, 0])
    noise[:, 400] = 0  # the peak of kspace_of is no noise
    truth = np.einsum("cd,d...->c...", mixing, kspace_of(C, 1, T, KY, KX, seed=1))
    rows = [mrd_row(noise, flags=(19,)), *mrd_rows(truth)]
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows))
    assert "prewhitened" in scan.notes and scan.kspace is not None
    outer = scan.kspace[..., :4, :].flatten(1)
    covariance = (outer @ outer.mH / outer.shape[1]).abs()
    assert torch.allclose(covariance, torch.eye(C), atol=0.3)


def test_mrd_undersampled_interleaved_and_dead(tmp_path: Path) -> None:
    truth = kspace_of(C, Z, T, KY, KX)
    truth[1] = 0
    rows = [row for row in mrd_rows(truth) if (row["head"]["idx"]["kspace_encode_step_1"][0] % 3) == 0]
    for row in rows:  # the first slice lies above the second
        row["head"]["position"][0, 2] *= -1
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows[::-1]))
    assert scan.mask is not None and scan.mask.float().mean() == pytest.approx(1 / 3)
    assert close(scan.kspace[:, 0, :, ::3], truth[:, 1, :, ::3])
    assert scan.notes["dead coils"].startswith("1 (from 0)")


def test_ocmr_pilot_tone_and_discarded_samples(tmp_path: Path) -> None:
    """OCMR drops 3 samples and the last one under a pilot tone; discard_pre and _post drop theirs."""
    truth = kspace_of(C, 1, 1, KY, KX)
    tone = (
        "<userParameters><userParameterLong><name>PilotTone</name><value>1</value></userParameterLong>"
        "</userParameters>"
    )
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX, extra=tone), mrd_rows(truth)))
    assert scan.mask is not None and scan.kspace is not None and "as OCMR does" in scan.notes["pilot tone"]
    assert scan.mask[0, 0].any(dim=0).tolist() == [False] * 3 + [True] * (KX - 4) + [False]
    assert close(scan.kspace[..., 3:-1], truth[..., 3:-1]) and not bool(scan.kspace[..., :3].any())
    rows = mrd_rows(truth)
    for row in rows:
        row["head"]["discard_pre"], row["head"]["discard_post"] = 1, 2
    scan = open_any(write_mrd_rows(tmp_path / "d.h5", mrd_header(KY, KX), rows))
    assert scan.mask is not None and scan.mask[0, 0, 0].tolist() == [False] + [True] * (KX - 3) + [False] * 2


def test_acdc_as_distributed(real_data: Path) -> None:
    folder = real_data / "acdc-original" / "patient001"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    scan = open_any(folder)
    assert scan.image is not None and (scan.ed, scan.es) == (0, 11) and scan.notes["group"] == "DCM"
    assert scan.labels is None and "left out: their grid" in scan.notes["labels"]  # its cine is cropped
    assert torch.equal(open_any(folder, slices=4).image, scan.image[[4]])


def test_mrd_of_the_reference_library(tmp_path: Path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed: no files of its own to read")
    truth = kspace_of(C, 1, 2, KY, KX)
    data = ismrmrd.Dataset(tmp_path / "m.h5", "dataset", True)
    data.write_xml_header(mrd_header(KY, KX).encode())
    for t in range(2):
        for ky in range(KY):
            one = ismrmrd.Acquisition.from_array(np.ascontiguousarray(truth[:, 0, t, ky]))
            one.idx.kspace_encode_step_1, one.idx.phase, one.center_sample = ky, t, KX // 2
            data.append_acquisition(one)
    data.close()
    assert close(open_any(tmp_path / "m.h5").kspace, truth)


def make_scan(**changes: object) -> Scan:
    mask = torch.zeros(Z, T, KY, KX, dtype=torch.bool)
    mask[:, :, ::2] = True
    mask[:, 1, 6, :3] = False
    kspace = torch.from_numpy(kspace_of(C, Z, T, KY, KX)) * mask
    affine = torch.tensor([[0, 2, 0, 3], [-1.5, 0, 0, 4], [0, 0, 8, 5], [0, 0, 0, 1]], dtype=torch.float64)
    plain = {
        "spacing_mm": SPACING,
        "frame_ms": 40.0,
        "affine": affine,
        "notes": {"simulated": "<all> of & it"},
    }
    return Scan(case="m", kspace=kspace, mask=mask, **(plain | changes))  # type: ignore[arg-type]


def test_what_we_write_as_mrd_comes_back(tmp_path: Path) -> None:
    scan = make_scan(labels=torch.zeros(Z, T, KY, KX, dtype=torch.int64))
    lost = write_mrd(tmp_path / "m.mrd", scan)
    back = open_any(tmp_path / "m.mrd")
    assert "labels" in lost["left out"]
    assert close(back.kspace, scan.kspace) and torch.equal(back.mask, scan.mask)
    assert back.spacing_mm == pytest.approx(scan.spacing_mm) and back.frame_ms == 40
    assert torch.allclose(back.affine, scan.affine, atol=1e-4)
    assert back.notes["simulated"] == "<all> of & it"
    assert [file.name for file in tmp_path.iterdir()] == ["m.mrd"]


def test_the_reference_library_reads_what_we_write(tmp_path: Path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed: nobody to read our file")
    scan = make_scan()
    write_mrd(tmp_path / "m.h5", scan)
    data = ismrmrd.Dataset(tmp_path / "m.h5", "dataset", False)
    header = ismrmrd.xsd.CreateFromDocument(data.read_xml_header())
    assert header.encoding[0].encodedSpace.matrixSize.y == KY
    one = data.read_acquisition(1)
    assert one.idx.kspace_encode_step_1 == 2 and one.center_sample == KX // 2
    assert np.allclose(one.data, scan.kspace[:, 0, 0, 2])
    data.close()


@every("changes", [{"kspace": None, "mask": None, "image": torch.ones(1, 1, 4, 4)}, {"mask": "holes"}])
def test_what_mrd_cannot_hold_is_refused(changes: dict, tmp_path: Path) -> None:
    if changes.get("mask") == "holes":
        holes = torch.ones(Z, T, KY, KX, dtype=torch.bool)
        holes[0, 0, 3, 4] = False
        scan = make_scan()
        scan = Scan("m", kspace=scan.kspace, mask=holes)
    else:
        scan = Scan("m", image=changes["image"])
    with pytest.raises(ValueError, match=r"writing MRD file .*: got .*; wanted"):
        write_mrd(tmp_path / "m.h5", scan)


# -- fastMRI


@every("coils", [1, C])
@every("without", ["", "ismrmrd_header", "attributes"])
def test_fastmri(coils: int, without: str, tmp_path: Path) -> None:
    truth = kspace_of(coils, Z, 1, KY, 2 * KX)
    stored = truth[:, :, 0].transpose(1, 0, 3, 2)  # (z, c, readout, lines)
    path = write_fastmri(tmp_path / "f.h5", stored[:, 0] if coils == 1 else stored, without)
    scan = open_any(path)
    if without == "ismrmrd_header":
        assert close(scan.kspace, truth) and "spacing" in scan.notes
    else:
        cut = ifft2c(torch.from_numpy(truth))[..., KX // 2 : KX // 2 + KX]
        assert scan.kspace is not None and close(ifft2c(scan.kspace), cut)
        assert scan.spacing_mm == pytest.approx(SPACING)
    assert ("acquisition" in scan.notes) == (without != "attributes")


def test_fastmri_with_a_mask(tmp_path: Path) -> None:
    stored = kspace_of(Z, C, 1, KX, KY)[:, :, 0]
    mask = np.arange(KY) % 2 == 0
    stored[..., ~mask] = 0
    scan = open_any(write_fastmri(tmp_path / "f.h5", stored, mask=mask))
    assert scan.mask is not None
    assert torch.equal(scan.mask.all(dim=-1)[0, 0], torch.from_numpy(mask))
    with pytest.raises(ValueError, match=r"6 lines of data that mask calls unacquired"):
        open_any(write_fastmri(tmp_path / "g.h5", stored, mask=~mask))
    with pytest.raises(ValueError, match=r"got a mask of 5 lines; wanted 12"):
        open_any(write_fastmri(tmp_path / "h.h5", stored, mask=mask[:5]))


# -- CMRxRecon


@every("write", [write_mat5, write_mat73])
@every("key", ["kspace_full", "kspace_sub04", "kus", "kspace"])
def test_cmrxrecon_multi_coil(write, key: str, tmp_path: Path) -> None:
    truth = kspace_of(C, Z, T, KY, KX)
    stored = truth.transpose(4, 3, 0, 1, 2)  # (nx, ny, nc, nz, nt)
    scan = open_any(write(tmp_path / "cine_sax.mat", **{key: stored}))
    assert close(scan.kspace, truth) and key in scan.notes["format"]
    fewer = open_any(write(tmp_path / "blackblood.mat", **{key: stored[..., 0]}))
    assert close(fewer.kspace, truth[:, :, :1])


@every("write", [write_mat5, write_mat73])
def test_cmrxrecon_single_coil(write, tmp_path: Path) -> None:
    truth = kspace_of(1, Z, T, KY, KX)
    scan = open_any(write(tmp_path / "s.mat", kspace_single_full=truth[0].transpose(3, 2, 0, 1)))
    assert close(scan.kspace, truth) and "kx, ky, z, t" in scan.notes["axes"]


@every("frames", [1, T])
def test_cmrxrecon_masks(frames: int, tmp_path: Path) -> None:
    truth = np.roll(kspace_of(C, 1, T, 24, 32), (2, -3), axis=(-2, -1))  # DC off the middle, as in real files
    file = write_mat73(tmp_path / "k.mat", kspace_full=truth.transpose(4, 3, 0, 1, 2))
    lines = np.zeros((32, 24, frames))
    lines[:, ::3] = 1
    stored = lines if frames > 1 else lines[..., 0]
    mask = write_mat5(tmp_path / "m.mat", mask04=stored)
    scan = open_any(file, mask=mask)
    assert scan.mask is not None and scan.kspace is not None
    assert scan.notes["undersampled by"] == "m.mat" and "rolled by (-2, 3)" in scan.notes["centre of k-space"]
    assert scan.mask.float().mean() == pytest.approx(1 / 3)
    assert bool(scan.mask[0, 0, 22].all()) and not bool(scan.mask[0, 0, 0].any())  # line 0 moved to 22
    assert int(scan.kspace.abs().sum(dim=(0, 1, 2)).argmax()) == 12 * 32 + 16
    with pytest.raises(ValueError, match=r"a mask of \(t, ky, kx\) = .*; wanted"):
        open_any(file, mask=write_mat5(tmp_path / "n.mat", mask=np.ones((5, 5))))
    with pytest.raises(ValueError, match=r"got a sampling mask without k-space"):
        open_any(mask)


# -- BART


def test_bart(tmp_path: Path) -> None:
    truth = kspace_of(C, Z, T, KY, KX)
    stored = truth.transpose(4, 3, 0, 2, 1).reshape(KX, KY, 1, C, 1, 1, 1, 1, 1, 1, T, 1, 1, Z)
    path = write_cfl(tmp_path / "b.cfl", stored)
    for given in (path, path.with_suffix(".hdr")):
        assert close(open_any(given).kspace, truth)
    big = open_any(write_cfl(tmp_path / "big.cfl", stored, order=">"))
    assert close(big.kspace, truth) and "big-endian" in big.notes["byte order"]


def test_bart_averages_and_both_time_axes(tmp_path: Path) -> None:
    truth = kspace_of(C, 1, 6, KY, KX)
    stored = truth.reshape(C, 2, 3, KY, KX).transpose(4, 3, 0, 2, 1)  # READ PHS1 COIL TIME TIME2
    stored = stored.reshape(KX, KY, 1, C, 1, 1, 1, 1, 1, 1, 3, 2, 1, 1, 1)
    pair = np.concatenate([stored + 1, stored - 1], axis=14)
    scan = open_any(write_cfl(tmp_path / "b.cfl", pair))
    assert close(scan.kspace, truth) and scan.notes["averaged"] == "2 averages"
    with pytest.raises(ValueError, match=r"2 elements along MAPS"):
        open_any(write_cfl(tmp_path / "c.cfl", np.ones((4, 4, 1, 1, 2))))
    with pytest.raises(ValueError, match=r"got 128 bytes; wanted 256"):
        open_any(write_cfl(tmp_path / "d.cfl", np.ones((4, 4)), dims=(4, 8)))


# -- numpy


@every("axes", ["", "ky kx", "c ky kx", "c t ky kx", "c z t ky kx"])
def test_npy_kspace(axes: str, tmp_path: Path) -> None:
    chosen = axes or "t c ky kx"
    size = {"c": C, "z": Z, "t": T, "ky": KY, "kx": KX}
    full = [size[name] if name in chosen.split() else 1 for name in ("c", "z", "t", "ky", "kx")]
    truth = kspace_of(*full)
    order = [("c", "z", "t", "ky", "kx").index(name) for name in chosen.split()]
    missing = [i for i in range(5) if i not in order]
    stored = truth.transpose([*order, *missing]).reshape([size[name] for name in chosen.split()])
    np.save(tmp_path / "k.npy", stored.astype(">c8") if axes == "ky kx" else stored)
    scan = open_any(tmp_path / "k.npy", axes=None if axes else chosen)
    assert close(scan.kspace, truth) and chosen in scan.notes["axes"]


def test_npy_images_and_npz(tmp_path: Path) -> None:
    image = np.abs(kspace_of(1, 1, T, KY, KX))[0, 0]
    np.save(tmp_path / "i.npy", (100 * image).astype(np.int16))
    scan = open_any(tmp_path / "i.npy")
    assert scan.image is not None and scan.shape == (1, T, KY, KX) and "simulated" in scan.notes["source"]
    np.savez(tmp_path / "v.npz", vol=image, seg=image)
    assert open_any(tmp_path / "v.npz").shape == (T, 1, KY, KX)
    truth = kspace_of(C, 1, 1, KY, KX)
    np.savez_compressed(tmp_path / "k.npz", kspace=truth[:, 0, 0], mask=np.arange(KY) % 2 == 0)
    masked = open_any(tmp_path / "k.npz").mask
    assert masked is not None and masked.float().mean() == 0.5


def test_npy_of_an_fft_without_shift_is_centred(tmp_path: Path) -> None:
    truth = kspace_of(C, 1, 1, KY, KX)
    np.save(tmp_path / "k.npy", np.fft.ifftshift(truth[:, 0, 0], axes=(-2, -1)))
    scan = open_any(tmp_path / "k.npy")
    assert close(scan.kspace, truth) and "rolled by" in scan.notes["centre of k-space"]


# -- images


@every("ending", [".nii", ".nii.gz", ".blob"])
def test_nifti(ending: str, tmp_path: Path) -> None:
    image = np.abs(kspace_of(1, Z, T, KY, KX))[0].transpose(3, 2, 0, 1)  # (x, y, z, t)
    nifti = nibabel.Nifti1Image(image.astype(np.float32), np.diag([1.5, 2, 8, 1]))
    nifti.header.set_xyzt_units("mm", "msec")
    nifti.header.set_zooms((1.5, 2, 8, 40))
    content = nifti.to_bytes()
    (tmp_path / f"n{ending}").write_bytes(gzip.compress(content) if ending != ".nii" else content)
    if ending == ".blob":
        assert format_of(tmp_path / "n.blob") == "nifti"
        return
    scan = open_any(tmp_path / f"n{ending}")
    assert scan.shape == (Z, T, KY, KX) and scan.spacing_mm == pytest.approx(SPACING) and scan.frame_ms == 40
    nibabel.save(nibabel.Nifti1Image(image[..., 0].astype(np.float32), np.eye(4)), tmp_path / "v.nii")
    assert open_any(tmp_path / "v.nii").shape == (Z, 1, KY, KX)


def nifti_of(path: Path, unit: str | int, sizes: tuple[float, float, float]) -> Path:
    nifti = nibabel.Nifti1Image(np.ones((6, 5, 2, 3), np.float32), np.diag([*sizes, 1]))
    if isinstance(unit, str):
        nifti.header.set_xyzt_units(unit, "msec")
    else:
        nifti.header["xyzt_units"] = unit
    nibabel.save(nifti, path)
    return path


@every(
    ("unit", "sizes"),
    [
        ("meter", (0.0015, 0.002, 0.008)),
        ("micron", (1500, 2000, 8000)),
        ("unknown", (1.5, 2, 8)),
        (7, (1.5, 2, 8)),  # no unit at all
    ],
)
def test_nifti_sizes_are_mm_whatever_the_unit(unit: str | int, sizes: tuple, tmp_path: Path) -> None:
    path = nifti_of(tmp_path / "n.nii", unit, sizes)
    nifti = nibabel.load(path)
    nifti.affine[:3, 3] = np.array(sizes) * 10
    nifti = nibabel.Nifti1Image(nifti.get_fdata(), nifti.affine, nifti.header)
    nibabel.save(nifti, path)
    scan = open_any(path)
    assert scan.spacing_mm == pytest.approx(SPACING) and not scan.in_pixels and scan.affine is not None
    assert torch.allclose(scan.affine[:3, 3], torch.tensor([15.0, 20, 80]).double(), atol=1e-3)


def test_nifti_that_tells_no_size_counts_pixels(tmp_path: Path) -> None:
    scan = open_any(nifti_of(tmp_path / "n.nii", "unknown", (1, 1, 1)))
    assert scan.in_pixels and scan.spacing_mm == (1, 1, 1)
    assert not open_any(nifti_of(tmp_path / "m.nii", "mm", (1, 1, 1))).in_pixels
    volume = nibabel.Nifti1Image(np.ones((6, 5, 2), np.float32), np.eye(4))
    nibabel.save(volume, tmp_path / "v.nii")
    assert open_any(tmp_path / "v.nii").in_pixels


@every(("unit", "sizes"), [("mm", (0.0025, 0.0025, 8)), ("mm", (25, 25, 8)), ("meter", (1.5, 2, 8))])
def test_nifti_pixels_of_no_body_are_refused(unit: str, sizes: tuple, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"got pixels of .* header: {unit}\); wanted 0.3 to 10 mm"):
        open_any(nifti_of(tmp_path / "n.nii", unit, sizes))


def test_dots_in_a_name_are_part_of_it(tmp_path: Path) -> None:
    for number in (1, 2):
        path = nifti_of(tmp_path / f"1.2.840.10008.{number}.nii.gz", "mm", (1.5, 2, 8))
        assert open_any(path).case == f"1.2.840.10008.{number}" == read_patient(path).case
        np.save(tmp_path / f"a.{number}.npy", np.ones((4, 4)))
        assert open_any(tmp_path / f"a.{number}.npy").case == f"a.{number}"
    write_mrd(tmp_path / "m.v1.mrd.h5", make_scan())
    assert open_any(tmp_path / "m.v1.mrd.h5").case == "m.v1"


DICOM_OPTIONAL = (
    "", "ImageType", "PixelSpacing", "SliceThickness", "ImageOrientationPatient", "TriggerTime",
    "InstanceNumber",
)  # fmt: skip


@every("without", DICOM_OPTIONAL)
def test_dicom_series(without: str, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    image = (1000 * np.abs(kspace_of(1, Z, T, KY, KX))[0] / 30).astype(np.uint16)
    slices = range(Z if without != "ImageOrientationPatient" else 1)
    for z in slices:
        for t in range(T):
            place = {"ImagePositionPatient": [-10, -20, 30 + 9 * z], "TriggerTime": 35 * t}
            number = {"InstanceNumber": z * T + t + 1}
            write_dicom(tmp_path / f"{T - t}{z}.dcm", image[z, t], without, **place, **number)
    scan = open_any(tmp_path)
    assert close(scan.image, image[: len(slices)].astype(np.float32)) or without == "TriggerTime"
    assert scan.frame_ms == (None if without == "TriggerTime" else 35)
    if without == "":
        assert scan.spacing_mm == (9, 2, 1.5) and "simulated" in scan.notes["source"]
        assert scan.affine is not None
        assert (scan.affine @ torch.tensor([0, 0, 1, 1.0], dtype=torch.float64)).tolist() == [10, 20, 39, 1]
    assert ("spacing" in scan.notes) == (without == "PixelSpacing")


def test_dicom_of_several_frames(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    image = (1000 * np.abs(kspace_of(1, 1, T, KY, KX))[0, 0] / 30).astype(np.uint16)
    classic = open_any(write_dicom(tmp_path / "c", image, FrameTime=30))
    assert close(classic.image, image[None].astype(np.float32)) and classic.frame_ms == 30

    def group(name: str, **elements: object) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for key, value in elements.items():
            setattr(inner, key, value)
        setattr(outer, name, Sequence([inner]))
        return outer

    frames = []
    for t in range(T):  # the last frame first
        frame = group("PlanePositionSequence", ImagePositionPatient=[0, 0, 1])
        extra = group("CardiacSynchronizationSequence", NominalCardiacTriggerDelayTime=20.0 * (T - t))
        frame.CardiacSynchronizationSequence = extra.CardiacSynchronizationSequence
        frames.append(frame)
    shared = group("PixelMeasuresSequence", PixelSpacing=[3, 4], SliceThickness=5)
    path = write_dicom(
        tmp_path / "e",
        image,
        "PixelSpacing",
        PerFrameFunctionalGroupsSequence=Sequence(frames),
        SharedFunctionalGroupsSequence=Sequence([shared]),
    )
    scan = open_any(path)
    assert close(scan.image, image[::-1][None].astype(np.float32).copy())
    assert scan.frame_ms == 20 and scan.spacing_mm[1:] == (3, 4)


def test_dicom_refuses_a_mixture(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    ones = np.ones((KY, KX))
    write_dicom(tmp_path / "a", ones)
    write_dicom(tmp_path / "b", np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"wanted one matrix size"):
        open_any(tmp_path)
    write_dicom(tmp_path / "b", ones, ImageType=["ORIGINAL", "PRIMARY", "P"])
    assert open_any(tmp_path).notes["left out"].startswith("1 images")
    write_dicom(tmp_path / "b", ones, ImagePositionPatient=[0, 0, 99])
    write_dicom(tmp_path / "c", ones, ImagePositionPatient=[0, 0, 99])
    with pytest.raises(ValueError, match=r"the same number in all"):
        open_any(tmp_path)


AXIAL, CORONAL = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]
TWO_HEARTS = {
    "patients": ({"PatientID": "A"}, {"PatientID": "B", "ImagePositionPatient": [0, 0, 9]}, "2 of patient 2"),
    "names": ({"PatientName": "A"}, {"PatientName": "B"}, "2 of patient 1"),
    "studies": ({"StudyInstanceUID": "1.2"}, {"StudyInstanceUID": "1.3"}, "2 of study 2"),
    "planes": ({}, {"ImageOrientationPatient": CORONAL}, r"4 images of 2 kinds \(2 of plane 1; 2 of plane 2"),
    "turned": ({}, {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]}, "2 of plane 2"),
    "a place twice": (
        {"SeriesInstanceUID": "1.2", "SeriesDescription": "cine SAX"},
        {"SeriesInstanceUID": "1.3"},
        r'2 of series "cine SAX"; 2 of series \.\.\.1\.3',
    ),
    "nearly a place": (
        {"SeriesInstanceUID": "1.2"},
        {"SeriesInstanceUID": "1.3", "ImagePositionPatient": [-10, -20, 30.4]},
        "2 kinds",
    ),
    "pixels": ({}, {"PixelSpacing": [1, 1], "ImagePositionPatient": [-10, -20, 38]}, "one size in all"),
}


@every("kind", TWO_HEARTS)
def test_dicom_of_two_hearts_is_refused(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    first, second, said = TWO_HEARTS[kind]
    for t in range(2):
        write_dicom(tmp_path / f"a{t}", np.full((KY, KX), 7), TriggerTime=40 * t, **first)
        write_dicom(tmp_path / f"b{t}", np.full((KY, KX), 9), TriggerTime=40 * t, **second)
    with pytest.raises(ValueError, match=rf"reading .*: got .*{said}") as error:
        open_any(tmp_path)
    assert kind == "pixels" or "give each series a folder of its own" in str(error.value)
    assert "\n" not in str(error.value)


def test_dicom_slices_as_series_of_their_own_are_one_stack(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    for z in range(3):
        for t in range(2):
            told = {"SeriesInstanceUID": f"1.2.{z}", "StudyInstanceUID": "1.2", "PatientID": "A"}
            place = {"ImagePositionPatient": [-10, -20, 8 * z], "TriggerTime": 40 * t}
            turn = {"ImageOrientationPatient": [1, 0, 1e-4 * z, 0, 1, 0]}
            write_dicom(tmp_path / f"{z}{t}", np.full((KY, KX), z + 1), **told, **place, **turn)
    write_dicom(tmp_path / "drawn", np.ones((KY, KX)), Modality="SEG", SeriesInstanceUID="1.9")
    scan = open_any(tmp_path)
    assert scan.notes["left out"].startswith("1 images")
    assert scan.shape == (3, 2, KY, KX) and scan.notes["series"].startswith("3 series of parallel slices")
    assert scan.spacing_mm[0] == pytest.approx(8, abs=0.01)
    (tmp_path / "21").unlink()
    with pytest.raises(ValueError, match=r"3 kinds \(2 of .*1 of series"):
        open_any(tmp_path)


# -- the door


def test_kwise_files_and_images_with_simulated_kspace(tmp_path: Path) -> None:
    scan = make_scan()
    write_scan(tmp_path / "own", scan)
    back = open_any(tmp_path / "own")
    assert close(back.kspace, scan.kspace) and with_kspace(back) is back
    image = torch.rand(1, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    simulated = with_kspace(Scan("i", image=image))
    assert simulated.kspace is not None and close(ifft2c(simulated.kspace[0]).abs(), image)
    assert "simulated" in simulated.notes


def test_formats_are_told_by_content_not_by_name(tmp_path: Path) -> None:
    truth = kspace_of(1, 1, 1, KY, KX)
    np.save(tmp_path / "a.npy", truth[0, 0, 0])
    files = {
        "numpy": (tmp_path / "a.npy").rename(tmp_path / "a.mat"),
        "mrd": write_mrd_rows(tmp_path / "b.npy", mrd_header(KY, KX), mrd_rows(truth)),
        "fastmri": write_fastmri(tmp_path / "c.mrd", truth[0].astype(np.complex64)),
        "cmrxrecon": write_mat73(tmp_path / "d.dcm", kspace_full=truth[0, 0, 0].T),
    }
    assert {name: format_of(path) for name, path in files.items()} == {name: name for name in files}
    assert set(files) < set(FORMATS)


def test_real_files_load() -> None:
    root = Path(os.environ.get("KWISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "raw"
    if not root.is_dir():
        pytest.skip(f"no real raw files in {root}")
    cine = open_any(root / "cine_sax.mat", mask=root / "cine_sax_mask_Uniform8.mat")
    assert cine.kspace is not None and cine.kspace.shape == (1, 1, 1, 246, 512) and cine.mask is not None
    peak = int(cine.kspace.abs().sum(dim=(0, 1, 2)).argmax())
    assert divmod(peak, 512) == (123, 256) and "rolled by (-3, 4)" in cine.notes["centre of k-space"]
    assert int(cine.mask[0, 0].any(dim=-1).sum()) == 45
    brain = open_any(root / "brain_8coil_kspace.npy")
    assert brain.mask is not None and brain.shape == (1, 1, 230, 180)
    assert not bool(brain.mask[..., 0, :].any()) and not bool(brain.mask[..., 0].any())
    assert open_any(root / "cine_lax_30frames.npy").shape == (1, 30, 144, 144)
    assert open_any(root / "brain_t1_volume.npz").shape == (160, 1, 192, 224)


def test_hdf5_stays_closed_after_reading(tmp_path: Path) -> None:
    path = write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), mrd_rows(kspace_of(1, 1, 1, KY, KX)))
    open_any(path)
    with h5py.File(path, "r+"):
        pass
