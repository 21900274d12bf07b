"""What goes back to an MRD client: image and segmentation as MRD image messages with attributes."""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kwise.data.out_mrd import image_heads, meta_text
from kwise.predict.door import acceleration_of, measurement_of
from kwise.predict.outputs import Delivery
from kwise.serve.mrd_session import IMAGE
from kwise.types import CLASS_NAMES, Scan

IMAGE_SERIES, SEGMENTATION_SERIES = 1, 2
_BRIGHTEST = 4095  # scanners show 12 bits


def write_reply(path: Path, told: Delivery, uid: int) -> None:
    """Write the messages of an answer, an image a slice and frame: series 1 the image, scaled to 12 bits,
    series 2 the labels. What the answer rests on stands in every image's attributes.
    """
    found, about = told.answer, _attributes(told)
    magnitude, what = told.image()
    comment = "".join(f"; caution: {sentence}" for sentence in found.cautions[:1])  # shown beside the image
    step = float(magnitude.max()) / _BRIGHTEST or 1.0
    shown = {
        "DataRole": "Image",
        "ImageComment": what + comment,
        "kwise_units_per_step": f"{step:.9g}",
        "WindowCenter": str(_BRIGHTEST // 2),
        "WindowWidth": str(_BRIGHTEST + 1),
    }
    with path.open("wb") as file:
        scaled = (magnitude / step).round().numpy().astype("<u2")
        file.write(_messages(found.scan, scaled, IMAGE_SERIES, uid, about | shown))
        if found.labels is not None:
            named = {
                "DataRole": "Segmentation",
                "ImageComment": "kwise segmentation" + comment,
                "kwise_classes": list(CLASS_NAMES[: found.n_classes]),
                "WindowCenter": "2",
                "WindowWidth": "5",
            }
            labels = found.labels.numpy().astype("<u2")
            file.write(_messages(found.scan, labels, SEGMENTATION_SERIES, uid, about | named))


def _attributes(told: Delivery) -> dict[str, Any]:
    found, notes = told.answer, told.answer.scan.notes
    known = {
        "ImageProcessingHistory": ["kwise", told.loaded.name],
        "SequenceDescriptionAdditional": "kwise",
        "Keep_image_geometry": "1",
        "kwise_weights_sha256": told.weights,
        "kwise_acceleration_achieved": f"{acceleration_of(measurement_of(found.scan)):.4g}",
        "kwise_purpose": "research: kwise is no medical device",
    }
    if not math.isnan(found.ejection_fraction):
        known["kwise_area_ejection_fraction_percent"] = f"{found.ejection_fraction:.2f}"
        known |= {"kwise_ED_frame": str(found.ed), "kwise_ES_frame": str(found.es)}
    if found.intervals is not None and math.isfinite(found.intervals.ef[0]):
        for end, bound in zip(("low", "high"), found.intervals.ef):
            known[f"kwise_area_ejection_fraction_{end}_percent"] = f"{bound:.2f}"
    known |= {f"kwise_caution_{i}": sentence for i, sentence in enumerate(found.cautions, 1)}
    return known | {f"kwise_note_{key}": value for key, value in notes.items()}


def _messages(scan: Scan, values: np.ndarray, series: int, uid: int, attributes: Mapping[str, Any]) -> bytes:
    """The messages of images (z, t, y, x), slices slowest."""
    text = meta_text(attributes).encode()
    heads = image_heads(scan, values.dtype.name, series, len(text))
    heads["measurement_uid"] = uid
    start, middle = struct.pack("<H", IMAGE), struct.pack("<Q", len(text)) + text
    images = values.reshape(len(heads), *values.shape[2:])
    return b"".join(start + head.tobytes() + middle + image.tobytes() for head, image in zip(heads, images))
