"""Muon: orthogonalised momentum, for the inner convolutions (K. Jordan et al., 2024).

torch.optim.Muon accepts matrices only and exists from torch 2.9 on; here convolution weights are
(out, rest) matrices, stacked by shape so that one product serves many.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic whose iterates approach sign(s)


def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.float32, steps: int = 5) -> Tensor:
    """(N, m, n) -> nearest semi-orthogonal matrices, roughly: singular values in 0.7..1.2."""
    a, b, c = NEWTON_SCHULZ
    if matrices.size(1) > matrices.size(2):
        return orthogonalise(matrices.transpose(1, 2), dtype, steps).transpose(1, 2)
    x = (matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)).to(dtype)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """lr and weight decay as in AdamW (decoupled); momentum is Nesterov's.

    bfloat16: orthogonalise in bfloat16, else in float32; lr: a number, or a tensor of one on the
    device for a CUDA graph, in which nothing waits.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float | Tensor = 5e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        bfloat16: bool = False,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = torch.bfloat16 if bfloat16 else torch.float32

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            by_shape = defaultdict(list)
            with_gradient = [p for p in group["params"] if p.grad is not None]
            if not with_gradient:
                continue
            for p in with_gradient:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            gradients = [p.grad for p in with_gradient]
            buffers = [self.state[p]["momentum"] for p in with_gradient]
            torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
            for p, gradient in zip(with_gradient, ahead):
                by_shape[p.shape].append((p, gradient))
            torch._foreach_mul_(with_gradient, 1 - group["lr"] * group["weight_decay"])
            for shape, pairs in by_shape.items():
                update = orthogonalise(torch.stack([g.flatten(1) for _, g in pairs]), self.dtype)
                gain = max(1.0, shape[0] / update.shape[2]) ** 0.5
                for (p, _), u in zip(pairs, update):
                    p.sub_(u.view(shape) * (group["lr"] * gain))
