"""One job of the worker: what a client sent, in a folder -> the files of its answer, and facts as JSON."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kwise.data.raw import open_any, with_kspace
from kwise.data.raw_mrd_stream import read_stream
from kwise.predict import answer
from kwise.predict.files import Asked, write_outputs
from kwise.predict.outputs import PHENOTYPES, RUN_CARD, Delivery, chosen_outputs
from kwise.serve.mrd_reply import write_reply
from kwise.types import Scan

ANSWER, REPLY = "answer", "reply"  # in the job's folder: the files of an answer; MRD messages for a stream


@dataclass(frozen=True)
class Job:
    """What a client sent: the `folder` of its request, the `file` or folder in it (None: a stream), a
    CMRxRecon `mask`, the name of the `case` for people, outputs wanted `also`, the number of a stream's
    measurement.
    """

    folder: Path
    file: Path | None = None
    mask: Path | None = None
    case: str = "scan"
    also: tuple[str, ...] = ()
    measurement_uid: int = 0


def do(job: Job, asked: Asked) -> dict[str, Any]:
    """Answer a job into its folder; gives phenotypes, areas per frame and the run card.

    ValueError in one line for what cannot be read or answered.
    """
    outputs = {**asked.outputs, **chosen_outputs(job.also)}
    found = answer(_scan(job), asked.loaded)
    told = Delivery(
        found, asked.loaded, asked.weights, job.case, job.file, asked.command, outputs=tuple(outputs)
    )
    folder = job.folder / ANSWER
    write_outputs(folder, told, outputs)
    if job.file is None:
        write_reply(job.folder / REPLY, told, job.measurement_uid)
    ef = found.ejection_fraction
    facts = json.loads((folder / PHENOTYPES).read_text(encoding="utf-8"))
    facts |= {"area_ejection_fraction_percent": None if math.isnan(ef) else ef, "dice": dict(found.dice)}
    return facts | {"run_card": json.loads((folder / RUN_CARD).read_text(encoding="utf-8"))}


def _scan(job: Job) -> Scan:
    scan = read_stream(job.folder) if job.file is None else open_any(job.file, mask=job.mask)
    return with_kspace(replace(scan, case=job.case))
