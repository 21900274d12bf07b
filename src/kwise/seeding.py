"""Random generators that depend on words, never on global state: same words, same draw, on every machine."""

import hashlib

import torch


def seed_of(*words: object) -> int:
    """A 63-bit seed from any words, e.g. seed_of("mask", case, acceleration)."""
    digest = hashlib.blake2b("\x1f".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*words: object) -> torch.Generator:
    """A CPU generator seeded by `seed_of(*words)`."""
    return torch.Generator().manual_seed(seed_of(*words))
