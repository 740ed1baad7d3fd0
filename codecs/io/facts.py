"""The report of `info` about a file, from its header alone.

Nothing here imports torch, which takes longer to load than everything else.
"""

from pathlib import Path
from typing import Any

from bitsback.codecs import segment_layout
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.formats import metadata
from bitsback.codecs.io.packed import read_packed


def describe(source: str | Path, data: bytes | None = None) -> dict[str, Any]:
    """The report of `info` as a dict.  Rates are in bits/dim, a dimension being a sample.

    data: the file's bytes, if already read.  bits_per_dim = net + overhead; net: the prior's rate
    for the dimensions it coded.  Overhead: header (with index and checksums), start (how much
    more the fallback parts take than at the net rate), side information, rest.
    """
    data = read_packed(source) if data is None else data
    header, payload = container.read(data)
    info = {
        "file": str(source),
        "format_version": container.VERSION,
        "width": header.width,
        "height": header.height,
        "mode": header.entries[0].mode,
        "source": header.entries[0].source or "other",
        "method": "prior" if header.model else "fallback",
        "metadata": metadata.names(header.metadata),
        "lost": list(header.lost),
        "file_bytes": len(data),
        "bits_per_dim": 8 * len(data) / header.dims,
    }
    if header.archive:
        info |= {
            "images": len(header.entries),
            "under_prior": len(header.entries) - header.fallback_count if header.model else 0,
            "modes": sorted({e.mode for e in header.entries}),
            "names": [e.name for e in header.entries],
        }
        for key in ("width", "height", "mode", "source"):
            del info[key]
    if header.model:
        info |= _prior_facts(header, len(data), len(payload), info["bits_per_dim"])
    return info


def _prior_facts(header, size, payload_size, bits_per_dim):
    """What a file coded under the prior adds: bytes of its parts, and the overhead's rates."""
    located = segment_layout.locate(header.sizes, header.start, header.segments)
    coded = sum(place.pixels * header.sizes[place.image][2] for place in located)
    net, start_dims = header.net_bits / coded, header.dims - coded
    sections = {
        "tuned_bytes": len(header.section(Tag.BIAS_UPDATES)),
        "flat_bytes": len(header.section(Tag.FLAT_MAP)),
        "mean_bytes": len(header.section(Tag.BLOCK_MEANS)),
    }
    header_bytes = size - payload_size - sum(sections.values())
    words_bytes = payload_size - header.credit_bytes
    optional = {**sections, "sharpness": header.sharpness}
    return {
        "model": header.model,
        "segments": len(located),
        "start_dims": start_dims,
        "header_bytes": header_bytes,
        "start_bytes": header.credit_bytes,
        "words_bytes": words_bytes,
        **{key: value for key, value in optional.items() if value},
        "net_bits_per_dim": net,
        "overhead_bits_per_dim": bits_per_dim - net,
        "header_bits_per_dim": 8 * header_bytes / header.dims,
        "start_bits_per_dim": (8 * header.credit_bytes - net * start_dims) / header.dims,
        "tuned_bits_per_dim": 8 * sections["tuned_bytes"] / header.dims,
        "flat_bits_per_dim": 8 * sections["flat_bytes"] / header.dims,
        "mean_bits_per_dim": 8 * sections["mean_bytes"] / header.dims,
        "rest_bits_per_dim": (8 * words_bytes - header.net_bits) / header.dims,
    }
