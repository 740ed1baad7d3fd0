"""The bits of a message on a device, as one Triton kernel."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["state", "count", "out", "lanes"])
def size_kernel(state, count, out, lanes, LANES: tl.constexpr):
    """out (1,) int64: 32 for each word, and the place of the highest bit of each state.

    state: (lanes,) int64; count: (1,) int64, words on the stack.
    """
    lane = tl.arange(0, LANES)
    s = tl.load(state + lane, mask=lane < lanes, other=2147483648)  # 2^31
    high = (s >> 31).to(tl.float64)  # exact: 32 bits; its exponent is in the bits 52 to 62
    place = (high.to(tl.int64, bitcast=True) >> 52) - 1023 + 31
    place = tl.where(lane < lanes, place, 0)
    tl.store(out, tl.sum(place, 0) + 32 * tl.load(count))
