"""A blend of several images of the same thing, its weights solved for by least squares.

Letters: n image, f frame, k part, y and x pixels.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_PULL = 1e-6  # of the ridge, in units of the mean moment: parts may be almost equal


class Blend(nn.Module):
    """sum_k (a_k + b_k s) part_k, where s is a number known of every image, such as how much of k-space was
    acquired. Before `fit` it is the sum of the parts named by `start`.
    """

    def __init__(self, n_parts: int, start: tuple[int, ...]) -> None:
        super().__init__()
        weights = torch.zeros(2, n_parts)
        weights[0, list(start)] = 1.0
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def forward(self, parts: Tensor, s: Tensor) -> Tensor:
        """Parts (n, f, k, y, x) and s (n,) -> (n, f, y, x), never below 0."""
        weights = self.weights[0] + self.weights[1] * s.unsqueeze(1)
        return torch.einsum("nk,nfkyx->nfyx", weights.to(parts.dtype), parts).clamp(min=0.0)

    @torch.no_grad()
    def fit(self, looks: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Solve for the weights that come closest to images (n, f, y, x), given parts and s as in `forward`:
        an iterable of (parts, s, image).
        """
        size = self.weights.numel()
        moments = torch.zeros(size, size, dtype=torch.float64)
        cross = torch.zeros(size, dtype=torch.float64)
        for parts, s, image in looks:
            flat = parts.transpose(1, 2).flatten(2).double()  # (n, k, pixels)
            flat = torch.cat([flat, flat * s[:, None, None]], dim=1)
            moments += torch.einsum("nip,njp->ij", flat, flat).cpu()
            cross += torch.einsum("nip,np->i", flat, image.flatten(1).double()).cpu()
        pull = _PULL * moments.diagonal().mean() * torch.eye(size, dtype=torch.float64)
        self.weights.copy_(torch.linalg.solve(moments + pull, cross).view_as(self.weights))
