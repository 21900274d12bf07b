"""kwise: answers straight from k-space."""

__version__ = "0.1.0"
