"""What `info` says of a file, from its header: without torch, whose loading takes longer than all else."""

from bitsback.codecs import segment_layout
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.formats import metadata
from bitsback.codecs.io.inputs import read_packed


def describe(source, data: bytes | None = None) -> dict:
    """What `info` says of a file, as a dict; rates are in bits a dimension (a sample of a pixel).

    data: its bytes, where they are read already.
    bits_per_dim = net + overhead; net is the prior's cost a dimension it coded; the overhead's
    parts: header (with index and checksums), start (the fallback parts against the net rate), rest.
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
        "method": "prior" if header.model else "plain",
        "metadata": metadata.names(header.metadata),
        "lost": list(header.lost),
        "file_bytes": len(data),
        "bits_per_dim": 8 * len(data) / header.dims,
    }
    if header.archive:
        info |= {
            "images": len(header.entries),
            "under_prior": len(header.entries) - header.plain if header.model else 0,
            "modes": sorted({e.mode for e in header.entries}),
            "names": [e.name for e in header.entries],
        }
        for key in ("width", "height", "mode", "source"):
            del info[key]
    if header.model:
        located = segment_layout.locate(header.sizes, header.start, header.segments)
        coded = sum(place.pixels * header.sizes[place.image][2] for place in located)
        net, start_dims = header.net_bits / coded, header.dims - coded
        sections = {
            "tuned_bytes": len(header.section(Tag.BIAS_UPDATES)),
            "flat_bytes": len(header.section(Tag.FLAT_MAP)),
            "mean_bytes": len(header.section(Tag.BLOCK_MEANS)),
        }
        parts = {
            "header_bytes": len(data) - len(payload) - sum(sections.values()),
            "start_bytes": header.credit_bytes,
            "words_bytes": len(payload) - header.credit_bytes,
            **{key: size for key, size in sections.items() if size},
        }
        if header.sharpness:
            parts["sharpness"] = header.sharpness
        info |= {
            "model": header.model,
            "segments": len(located),
            "start_dims": start_dims,
            **parts,
            "net_bits_per_dim": net,
            "overhead_bits_per_dim": info["bits_per_dim"] - net,
            "header_bits_per_dim": 8 * parts["header_bytes"] / header.dims,
            "start_bits_per_dim": (8 * header.credit_bytes - net * start_dims) / header.dims,
            "tuned_bits_per_dim": 8 * sections["tuned_bytes"] / header.dims,
            "flat_bits_per_dim": 8 * sections["flat_bytes"] / header.dims,
            "mean_bits_per_dim": 8 * sections["mean_bytes"] / header.dims,
            "rest_bits_per_dim": (8 * parts["words_bytes"] - header.net_bits) / header.dims,
        }
    return info
