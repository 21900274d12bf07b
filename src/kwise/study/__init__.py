"""The acceleration study: how far may a sequence undersample before an answer is wrong by more than the
question allows.
"""

from kwise.study.plan import Cell, Plan, check_plan
from kwise.study.run import run_study

__all__ = ["Cell", "Plan", "check_plan", "run_study"]
