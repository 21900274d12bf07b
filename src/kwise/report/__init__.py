"""Scores on disk -> tables, figures, and one self-contained page. Nothing here imports torch."""
