"""Scores nobody measured, to print tables from."""

from pathlib import Path

from kwise.report.table import QUANTITIES


def write_made_up_scores(folder: Path) -> None:
    """scores.csv and frames.csv of three cases at R = 8: every measure .1, .2 and .3."""
    folder.mkdir(parents=True)
    columns = ["dice_foreground", "soft_foreground", "hd_foreground_px"]
    columns += dict.fromkeys(name for pair in QUANTITIES.values() for name in pair[:2])
    lines = [["case", "acceleration", *columns]]
    lines += [[f"heart-test-{i:06d}", "8", *[f"0.{i + 1}"] * len(columns)] for i in range(3)]
    (folder / "scores.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    (folder / "frames.csv").write_text("case,acceleration,frame,class,dice\nmean of 3,8,0,LV,0.5\n")
