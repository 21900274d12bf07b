"""What goes back to an MRD client: image and segmentation as MRD images with attributes, then close."""

import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kwise.serve.mrd_session import CLOSE, IMAGE, TEXT

IMAGE_SERIES, SEGMENTATION_SERIES = 1, 2
_BRIGHTEST = 4095  # scanners show 12 bits
_MAGNITUDE = 1  # ISMRMRD_IMTYPE_MAGNITUDE


def images_of(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], uid: int) -> Iterator[Any]:
    """MRD images of an answer, one a slice and frame: series 1 the image, scaled to 12 bits, series 2 labels.

    `arrays` are those of a job (labels and image (z, t, y, x), affine, spacing, frame time), `facts` its
    answer; what the answer rests on stands in every image's attributes.
    """
    image, labels = arrays["image"], arrays["labels"]
    step = float(image.max()) / _BRIGHTEST or 1.0
    scaled = (image / step).round().astype(np.uint16)
    about = _attributes(facts) | {"kwise_image": str(arrays["what"]), "kwise_units_per_step": f"{step:.9g}"}
    window = {"WindowCenter": str(_BRIGHTEST // 2), "WindowWidth": str(_BRIGHTEST + 1)}
    yield from _series(scaled, arrays, IMAGE_SERIES, uid, about | window | {"DataRole": "Image"})
    if labels.size:
        names = {"DataRole": "Segmentation", "kwise_classes": facts["classes"]}
        window = {"WindowCenter": "2", "WindowWidth": "5"}
        yield from _series(
            labels.astype(np.uint16), arrays, SEGMENTATION_SERIES, uid, _attributes(facts) | window | names
        )


def _attributes(facts: Mapping[str, Any]) -> dict[str, Any]:
    card, ef = facts["run_card"], facts["area_ejection_fraction_percent"]
    told = {
        "ImageProcessingHistory": ["kwise", card["model"]],
        "SequenceDescriptionAdditional": "kwise",
        "Keep_image_geometry": "1",
        "kwise_software": card["software"],
        "kwise_weights_sha256": card["weights_sha256"],
        "kwise_acceleration_achieved": str(card["acceleration_achieved"]),
        "kwise_purpose": card["for"],
    }
    if ef is not None:
        told |= {
            "kwise_area_ejection_fraction_percent": f"{ef:.2f}",
            "kwise_ED_frame": str(facts["ED_frame"]),
            "kwise_ES_frame": str(facts["ES_frame"]),
        }
    return told | {f"kwise_note_{key}": value for key, value in card["notes"].items()}


def _series(
    values: np.ndarray, arrays: Mapping[str, np.ndarray], series: int, uid: int, attributes: Mapping[str, Any]
) -> Iterator[Any]:
    """Images (y, x) of an array (z, t, y, x), slices slowest."""
    import ismrmrd

    text = ismrmrd.Meta(attributes).serialize()
    n_slices, n_frames, y, x = values.shape
    spacing = arrays["spacing_mm"]
    for z in range(n_slices):
        for t in range(n_frames):
            image = ismrmrd.Image.from_array(np.ascontiguousarray(values[z, t]), transpose=False)
            head = image.getHead()
            head.measurement_uid, head.image_type, head.image_series_index = uid, _MAGNITUDE, series
            head.slice, head.phase, head.image_index = z, t, 1 + z * n_frames + t
            head.field_of_view[:] = (x * spacing[2], y * spacing[1], spacing[0])
            _place(head, arrays["affine"], (y, x), z)
            head.physiology_time_stamp[0] = round(t * float(arrays["frame_ms"]) / 2.5)  # ticks of 2.5 ms
            image.setHead(head)
            image.attribute_string = text
            yield image


def _place(head: Any, affine: np.ndarray, shape: tuple[int, int], z: int) -> None:
    """Centre and directions of a slice in MRD's axes (left, back, up), from NIfTI's affine."""
    if affine.size:
        axes = affine[:3] * np.array([[-1.0], [-1.0], [1.0]])
        lengths = np.linalg.norm(axes[:, :3], axis=0)
        for name, column, length in zip(("read_dir", "phase_dir", "slice_dir"), axes[:, :3].T, lengths):
            getattr(head, name)[:] = (column / (length or 1)).tolist()
        head.position[:] = (axes @ np.array([shape[1] // 2, shape[0] // 2, z, 1.0])).tolist()


def send_image(connection: socket.socket, image: Any) -> None:
    """An image as a message."""
    connection.sendall(struct.pack("<H", IMAGE) + image.to_bytes())


def send_text(connection: socket.socket, line: str) -> None:
    """A line for people as a message."""
    text = line.encode()
    connection.sendall(struct.pack("<HI", TEXT, len(text)) + text)


def send_close(connection: socket.socket) -> None:
    """The last message."""
    connection.sendall(struct.pack("<H", CLOSE))
