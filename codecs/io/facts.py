"""The report of `info` about a file, from its header alone.

Nothing here imports torch, which takes longer to load than everything else.
"""

from pathlib import Path
from typing import Any

from bitsback.codecs import segment_layout
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.chosen import chosen_groups
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.bitstream.version import PLACE, version_name
from bitsback.codecs.fallback.parts import coder_names
from bitsback.codecs.formats import metadata
from bitsback.codecs.io.packed import read_packed


def describe(source: str | Path, data: bytes | None = None) -> dict[str, Any]:
    """The report of `info` as a dict.  Rates are in bits/dim, a dimension being a sample.

    data: the file's bytes, if already read.  bits_per_dim = net + remainders + overhead; net: the
    prior's rate for the dimensions it coded; remainders: of 16-bit images, the bits below those.
    Overhead: header (with index and checksums), start (how much more the other fallback parts take
    than at the net rate), side information, rest.
    damaged: what is wrong with groups of an archive, or of a later version in them, which are left
    out of all else.
    """
    data = read_packed(source) if data is None else data
    groups, headers, damage = chosen_groups(data)
    header = container.joined_header(list(headers.values()))
    sizes = {number: min(group.size, len(data)) for number, group in groups.items()}
    size = sum(sizes.values()) + container.read_groups(data)[0].begin
    info = {
        "file": str(source),
        "format_version": version_name(data[PLACE]),
        "width": header.width,
        "height": header.height,
        "mode": header.entries[0].mode,
        "source": header.entries[0].source or "other",
        "method": "prior" if header.model else "fallback",
        "metadata": metadata.names(header.metadata),
        "lost": list(header.lost),
        "file_bytes": len(data),
        "bits_per_dim": 8 * size / header.dims,
    }
    if header.archive:
        info |= {
            "images": len(header.entries),
            "under_prior": sum(
                len(one.entries) - one.fallback_count for one in headers.values() if one.model
            ),
            "modes": sorted({e.mode for e in header.entries}),
            "names": [e.name for e in header.entries],
            "sizes": [[e.width, e.height] for e in header.entries],
            "groups": [
                {"number": i + 1, "images": len(headers[i].entries), "bytes": sizes[i]}
                for i in sorted(sizes)
            ],
            "damaged": list(map(str, damage)),
        }
        for key in ("width", "height", "mode", "source"):
            del info[key]
    if header.model:
        info |= _prior_facts(header, list(headers.values()), size, info["bits_per_dim"])
    else:
        read = (container.read_group(group.of(data), group) for group in groups.values())
        named = (coder_names(payload, header) for header, payload in read)
        info["coders"] = sorted({name for names in named for name in names})
    return info


def _prior_facts(header, headers, size, bits_per_dim):
    """What a file coded under the prior adds: bytes of its parts, and the overhead's rates.

    header: of all groups together; headers: of each; size: bytes of these groups and the table.
    """
    located = [
        (one, place)
        for one in headers
        if one.model  # the others have no segments
        for place in segment_layout.locate(one.sizes, one.start, one.segments)
    ]
    coded = sum(place.pixels * one.colours[place.image] for one, place in located)
    net_bits = sum(one.net_bits for one in headers)
    credit = sum(one.credit_bytes if one.model else one.payload_bytes for one in headers)
    net, start_dims = net_bits / coded, header.dims - coded
    sections = {
        name: sum(len(one.section(tag)) for one in headers)
        for name, tag in (
            ("tuned_bytes", Tag.BIAS_UPDATES),
            ("flat_bytes", Tag.FLAT_MAP),
            ("mean_bytes", Tag.BLOCK_MEANS),
        )
    }
    payload = sum(one.payload_bytes for one in headers)
    header_bytes = size - payload - sum(sections.values())
    words_bytes = payload - credit
    remainders = sum(one.remainder_bytes for one in headers)
    start_bytes, remainder_rate = credit - remainders, 8 * remainders / header.dims
    optional = {
        **sections,
        "sharpness": max(one.sharpness for one in headers),
        "depth": sorted({str(d.depth) for one in headers if one.model for d in one.depths if d}),
        "remainder_bytes": remainders,
        "remainder_bits_per_dim": remainder_rate,
    }
    return {
        "model": header.model,
        "segments": len(located),
        "start_dims": start_dims,
        "header_bytes": header_bytes,
        "start_bytes": start_bytes,
        "words_bytes": words_bytes,
        **{key: value for key, value in optional.items() if value},
        "net_bits_per_dim": net,
        "overhead_bits_per_dim": bits_per_dim - net - remainder_rate,
        "header_bits_per_dim": 8 * header_bytes / header.dims,
        "start_bits_per_dim": (8 * start_bytes - net * start_dims) / header.dims,
        "tuned_bits_per_dim": 8 * sections["tuned_bytes"] / header.dims,
        "flat_bits_per_dim": 8 * sections["flat_bytes"] / header.dims,
        "mean_bits_per_dim": 8 * sections["mean_bytes"] / header.dims,
        "rest_bits_per_dim": (8 * words_bytes - net_bits) / header.dims,
    }
