"""The XML header of an MRD (ISMRMRD) file, read tolerantly: whatever is not there is None, and nothing raises
but damage.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

Triple = tuple[float, float, float]
LARGEST_HEADER = 2**24  # bytes


@dataclass(frozen=True)
class Limit:
    """The range of an encoding counter, and where its centre lies."""

    minimum: int
    maximum: int
    center: int


@dataclass(frozen=True)
class Header:
    """What an MRD header tells: matrix and field of view in mm, (x, y, z), encoded and reconstructed.

    None stands for what it does not tell. `notes` are kwise's own, written by `write_mrd`.
    """

    matrix: tuple[int, int, int] | None = None
    fov_mm: Triple | None = None
    recon_matrix: tuple[int, int, int] | None = None
    recon_fov_mm: Triple | None = None
    trajectory: str | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    tr_ms: float | None = None
    pilot_tone: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Names of what a reader needs and the header does not have."""
        needed = {
            "encodedSpace.matrixSize": self.matrix,
            "encodedSpace.fieldOfView_mm": self.fov_mm,
            "reconSpace.fieldOfView_mm": self.recon_fov_mm,
            "trajectory": self.trajectory,
            "encodingLimits.kspace_encoding_step_1": self.limits.get("kspace_encoding_step_1"),
        }
        return [name for name, value in needed.items() if value is None]

    def readout_pixels(self, n: int) -> int:
        """How many of `n` encoded readout pixels remain once oversampling is removed."""
        if self.fov_mm is None or self.recon_fov_mm is None:
            return n
        kept = round(n * self.recon_fov_mm[0] / self.fov_mm[0])
        return kept if 0 < kept < n else n


def parse_header(text: str | bytes, doing: str) -> Header:
    """The header; ValueError, which `doing` opens, for XML that is damaged, or numbers that are none."""
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > LARGEST_HEADER or b"<!DOCTYPE" in raw or b"<!ENTITY" in raw:
        raise ValueError(f"{doing}: got an XML header with entities or over 16 MB; wanted a plain one")
    try:
        root = ET.fromstring(raw.rstrip(b"\0").strip())
    except ET.ParseError as error:
        raise ValueError(f"{doing}: got an XML header that is damaged ({error}); wanted ISMRMRD's") from error
    for node in root.iter():  # tags without their namespace, which differs among writers
        node.tag = node.tag.rpartition("}")[2]
    encoding = root.find("encoding")
    if encoding is None:
        return Header(notes=_notes(root))
    space = _Space(doing)
    return Header(
        matrix=space.sizes(encoding, "encodedSpace"),
        fov_mm=space.lengths(encoding, "encodedSpace"),
        recon_matrix=space.sizes(encoding, "reconSpace"),
        recon_fov_mm=space.lengths(encoding, "reconSpace"),
        trajectory=(encoding.findtext("trajectory") or "").strip().lower() or None,
        limits=space.limits(encoding),
        tr_ms=space.number(root, "sequenceParameters/TR"),
        pilot_tone=_pilot_tone(root),
        notes=_notes(root),
    )


@dataclass(frozen=True)
class _Space:
    """Numbers out of XML, with errors that name the field."""

    doing: str

    def number(self, node: ET.Element, path: str) -> float | None:
        text = node.findtext(path)
        if text is None or not text.strip():
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not abs(value) < 1e9:
            raise ValueError(f"{self.doing}: got {path} = {text.strip()[:40]!r}; wanted a number")
        return value

    def triple(self, node: ET.Element, path: str) -> Triple | None:
        x, y, z = (self.number(node, f"{path}/{axis}") for axis in "xyz")
        if x is None or y is None:
            return None
        z = 1.0 if z is None else z
        if min(x, y) <= 0 or z < 0:
            raise ValueError(f"{self.doing}: got {path} = {(x, y, z)}; wanted numbers above 0")
        return x, y, z or 1.0

    def sizes(self, encoding: ET.Element, space: str) -> tuple[int, int, int] | None:
        found = self.triple(encoding, f"{space}/matrixSize")
        return None if found is None else (int(found[0]), int(found[1]), int(found[2]))

    def lengths(self, encoding: ET.Element, space: str) -> Triple | None:
        return self.triple(encoding, f"{space}/fieldOfView_mm")

    def limits(self, encoding: ET.Element) -> dict[str, Limit]:
        found = {}
        for node in encoding.iterfind("encodingLimits/*"):
            values = [self.number(node, name) for name in ("minimum", "maximum", "center")]
            if None not in values:
                found[node.tag] = Limit(*(int(value) for value in values if value is not None))
        return found


def _notes(root: ET.Element) -> dict[str, str]:
    pairs = (
        (node.findtext("name") or "", node.findtext("value") or "")
        for node in root.iterfind("userParameters/userParameterString")
    )
    return {name.removeprefix("kwise "): value for name, value in pairs if name.startswith("kwise ")}


def _pilot_tone(root: ET.Element) -> bool:
    """Whether a pilot tone was on, whose samples OCMR's reader throws away."""
    return any(
        "PilotTone" in (node.findtext("name") or "") and (node.findtext("value") or "").strip() == "1"
        for node in root.iterfind("userParameters/userParameterLong")
    )
