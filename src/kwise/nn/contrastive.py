"""Contrastive alignment of two kinds of embeddings, over batches that neither memory nor one process could
hold.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


def symmetric_contrast(a: Tensor, b: Tensor, temperature: float, weight: float) -> Tensor:
    """Scalar `weight` * L(a -> b) + (1 - weight) * L(b -> a) of embeddings (n, d) of the same n cases
    (Radford et al., CLIP, ICML 2021; k-MTR, Eq. 2).

    L(a -> b) is the cross-entropy of finding b_i among all b, by cosine similarity over `temperature`.
    """
    if len(a) < 2:
        raise ValueError(f"contrasting cases: got a batch of {len(a)}; wanted two or more")
    similar = functional.normalize(a.float(), dim=1) @ functional.normalize(b.float(), dim=1).T / temperature
    same = torch.arange(len(a), device=a.device)
    to_b, to_a = functional.cross_entropy(similar, same), functional.cross_entropy(similar.T, same)
    return weight * to_b + (1 - weight) * to_a


def gather_embeddings(x: Tensor) -> Tensor:
    """Embeddings (n, d) of all processes, one process after the other; the gradient comes back to each.

    Every process computes the whole loss, so the gather adds up as many equal gradients as there are
    processes, and data-parallel training divides by their number again: the gradient of the large batch.
    ValueError where processes bring batches of different size.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return x
    sizes = [
        torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(torch.distributed.get_world_size())
    ]
    torch.distributed.all_gather(sizes, torch.tensor([len(x)], device=x.device))
    if len({int(size) for size in sizes}) > 1:
        got = ", ".join(str(int(size)) for size in sizes)
        raise ValueError(
            f"gathering embeddings: got batches of {got} cases; wanted the same in every process"
        )
    return _Gather.apply(x)


class _Gather(torch.autograd.Function):
    """Concatenation over processes whose backward adds up what every process sends back for this one's part.

    The one of torch.distributed.nn is deprecated; its successors are private.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.clone()  # summed in place
        torch.distributed.all_reduce(grad)
        return grad.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


def embed_in_chunks(embed: Callable[[int, int], Tensor], n: int, chunk: int) -> Tensor:
    """Embeddings (n, d) from `embed(start, stop)`, `chunk` cases at a time, each chunk's activations
    forgotten.

    Backward takes the gradient of all embeddings first and then replays chunk after chunk (Gao et al.,
    GradCache, 2021), so a batch of any size needs the memory of one chunk, and its gradient is that of the
    whole batch.
    """
    if chunk < 1:
        raise ValueError(f"embedding in chunks: got chunk = {chunk}; wanted at least 1")
    bounds: Sequence[tuple[int, int]] = [(i, min(i + chunk, n)) for i in range(0, n, chunk)]
    if len(bounds) == 1:
        return embed(0, n)
    parts = [checkpoint(embed, *pair, use_reentrant=False, preserve_rng_state=False) for pair in bounds]
    return torch.cat(parts)
