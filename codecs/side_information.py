"""The side information of a file whose images lie under the prior, and the decoder that it makes.

flat map        blocks of one value: their samples are known before the segments (flat_map.py)
block means     blurred images: means of the noisiest level (block_means.py)
sharpness       the parameter of the colour counts (ans/colour_frequencies.py)
bias updates    of the model's biases for these images (integer/bias_updates.py), as the words
                of a stack of their own
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bitsback.ans.colour_counts import ColourCounts
from bitsback.ans.colour_frequencies import SHARPNESS
from bitsback.ans.stack import Stack
from bitsback.codecs import block_means, flat_map
from bitsback.codecs.bitstream.header import Header
from bitsback.codecs.bitstream.sections import Tag
from bitsback.coder.chain import Chain
from bitsback.coder.model import Model
from bitsback.coder.top import Top
from bitsback.errors import DamagedFile, StackEmpty

CREDIT = b"\1"  # of the stack of bias updates: one without any cannot be told from one run dry


class Decoding(NamedTuple):
    """What the segments of a file are decoded with.

    masks: (H, W, C) bool of each image, True where a sample is coded, or None; colours: None where
    they are not counted.
    """

    chain: Chain
    top: Top
    masks: list[np.ndarray | None] | None
    colours: ColourCounts | None


@dataclass(frozen=True)
class SideInformation:
    """Bytes of each section as the file holds them; empty, or 0, where there is none."""

    flat_map: bytes = b""
    block_means: bytes = b""
    sharpness: int = 0
    bias_updates: bytes = b""

    def sections(self) -> dict[int, bytes]:
        """{tag: bytes} for a Header."""
        found = {
            Tag.BIAS_UPDATES: self.bias_updates,
            Tag.FLAT_MAP: self.flat_map,
            Tag.BLOCK_MEANS: self.block_means,
            Tag.SHARPNESS: bytes([self.sharpness]) if self.sharpness else b"",
        }
        return {int(tag): data for tag, data in found.items() if data}

    @classmethod
    def from_header(cls, header: Header) -> "SideInformation":
        """The mirror of `sections`.  Errors: DamagedFile."""
        counted = header.section(Tag.SHARPNESS)
        if counted and (len(counted) != 1 or not 0 < counted[0] <= len(SHARPNESS)):
            raise DamagedFile("a sharpness that is none")
        flat, means = header.section(Tag.FLAT_MAP), header.section(Tag.BLOCK_MEANS)
        return cls(flat, means, header.sharpness, header.section(Tag.BIAS_UPDATES))

    def decoding(
        self, model: Model, header: Header, images: list[np.ndarray], device: str = "cpu"
    ) -> Decoding:
        """What a decoder of these images needs; paints the flat blocks into them.

        images: (H, W, C) uint8, turned as the header says.  Errors: DamagedFile.
        """
        top = Top(header.top[::2], header.top[1::2])
        sizes = [pixels.shape for pixels in images]
        if self.block_means:
            top = block_means.read(self.block_means, sizes, top, model.levels)
        chain = model.chain(device)
        if self.bias_updates:
            chain = model.tuned_chain(unpack_updates(self.bias_updates, model), device)
        masks = flat_map.read(self.flat_map, images) if self.flat_map else None
        return Decoding(chain, top, masks, ColourCounts(self.sharpness) if self.sharpness else None)


def pack_updates(updates: np.ndarray | None, model: Model) -> bytes:
    """Bias updates, all families' in one array of int32, as bytes; none where there are none."""
    if updates is None:
        return b""
    stack = Stack(CREDIT)
    model.update_codec.push(stack, updates)
    return stack.to_words()


def unpack_updates(data: bytes, model: Model) -> np.ndarray:
    """The mirror of pack_updates.  Errors: DamagedFile."""
    stack = Stack.from_words(data)
    try:
        updates = model.update_codec.pop(stack)
    except StackEmpty:
        raise DamagedFile("bias updates that end too early") from None
    if stack.credit(len(CREDIT)) != CREDIT:
        raise DamagedFile("bias updates that do not end where they began")
    return updates
