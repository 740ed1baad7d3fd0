"""Whether the Triton kernels of fused.py compute on a device what they replace, gradients too."""

from typing import Any

import torch
from torch import Tensor

from bitsback.train.fused import FusedClamp, FusedWeight
from bitsback.train.quantised import RoundedClamp, rounded_weight


def kernels_agree(device: str | torch.device) -> bool:
    """Whether the kernels of fused.py run on `device` and equal the operations they replace."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    def both(one: Any, other: Any, *inputs: Tensor) -> bool:
        results = []
        for function in (one, other):
            leaves = [x.clone().requires_grad_() for x in inputs]
            y = function(*leaves)
            weights = (y.detach().float() * 0.01).cos().to(y.dtype)
            gradients = torch.autograd.grad((y * weights).float().sum(), leaves)
            results.append([y.detach().float(), *gradients])
        near = [torch.allclose(a, b, rtol=2e-2, atol=1e-2) for a, b in zip(*results)]
        return torch.equal(results[0][0], results[1][0]) and all(near)

    try:
        x, bias = 300 * normal(3, 24, 6, 10), 50 * normal(3, 24, 1, 1)
        return (
            both(FusedClamp.apply, lambda a, b: RoundedClamp.apply(a, b, True).bfloat16(), x, bias)
            and both(
                lambda a: FusedClamp.apply(a, None),
                lambda a: RoundedClamp.apply(a, None, True).bfloat16(),
                x,
            )
            and both(
                lambda w: FusedWeight.apply(w, 0.5),
                lambda w: (rounded_weight(w, 0) * 0.5).bfloat16(),
                0.1 * normal(16, 24, 3, 3),
            )
        )
    except Exception:  # the compiler's errors are of many kinds: the plain operations do as well
        return False
