"""A k-space file -> answers on disk: segmentation, areas, and a page that shows what they rest on.

Only what the file says was acquired is used; nothing here can simulate or draw a mask.
"""

from kwise.checkpoint import all_shipped, find_checkpoint, fingerprint
from kwise.predict.answer import Answer, measurement_of, segment
from kwise.predict.cohort import Order, is_cohort, predict_folder
from kwise.predict.files import predict_file, write_answer
from kwise.predict.outputs import OUTPUTS
from kwise.predict.predictors import PREDICTORS, answer, load_model

__all__ = [
    "OUTPUTS",
    "PREDICTORS",
    "Answer",
    "Order",
    "all_shipped",
    "answer",
    "find_checkpoint",
    "fingerprint",
    "is_cohort",
    "load_model",
    "measurement_of",
    "predict_file",
    "predict_folder",
    "segment",
    "write_answer",
]
