"""What images in the wild went through and training images did not: gray ones, and colours at half resolution.

Whatever was once a JPEG, a video frame or a Photo CD scan stored its two colour differences at half
the resolution.  The fast model, trained without such images, costs 13 % more than JPEG XL on them where it costs 2 %
more on their originals (benchmarks/results/domain.md).
"""

import torch
import torch.nn.functional as F

GRAY_SHARE = 1 / 8  # of the patches are coded as one channel
HALVED_SHARE = 1 / 4  # of the patches have their colour differences at half resolution
# ITU-R BT.601, full range, as JPEG has it: rows Y, Cb, Cr; and the way back
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def _mixed(x, matrix):
    return torch.einsum("oc,bchw->bohw", x.new_tensor(matrix), x)


def gray(x):
    """(B, 3, H, W) gray levels 0..255 -> their luminance, three times."""
    return _mixed(x, TO_YCC[:1]).round().expand_as(x)


def _halved(chroma, across, smooth):
    """Both colour differences averaged over 2 rows, and 2 columns if `across`, then interpolated or repeated back."""
    step = (2, 2) if across else (1, 2)
    low = F.avg_pool2d(chroma, step)
    return F.interpolate(low, chroma.shape[2:], mode="bilinear" if smooth else "nearest")


def chroma_halved(x, kind):
    """(B, 3, H, W) gray levels 0..255, sides even, -> the same after 4:2:0 (kind 0, 1) or 4:2:2 (2, 3); odd kinds repeat samples, others interpolate.

    kind: (B,) int.  Values are whole numbers again, as a decoder leaves them.
    """
    ycc = _mixed(x, TO_YCC)
    chroma = ycc[:, 1:]
    for k, (across, smooth) in enumerate(
        ((True, True), (True, False), (False, True), (False, False))
    ):
        chroma = torch.where(
            (kind == k).view(-1, 1, 1, 1), _halved(ycc[:, 1:], across, smooth).round(), chroma
        )
    return _mixed(torch.cat([ycc[:, :1].round(), chroma], 1), TO_RGB).round().clamp(0, 255)


def some_halved(x, uniform, share=HALVED_SHARE):
    """(B, 3, H, W) gray levels; uniform: (2, B), random in 0..1 -> some of them with halved colours."""
    x, halve = x.clone(), uniform[0] < share
    x[halve] = chroma_halved(
        x[halve], (4 * uniform[1, halve] ** 2).long()
    )  # 4:2:0 interpolated is the most frequent
    return x


def some_gray(x, generator, share=GRAY_SHARE):
    """(B, 3, H, W) pixels - 128 -> (the same, some of them gray; (B,) bool, which)."""
    chosen = torch.rand(len(x), device=x.device, generator=generator) < share
    return torch.where(chosen.view(-1, 1, 1, 1), gray(x + 128) - 128, x), chosen
