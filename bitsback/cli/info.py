"""The command `info`."""

import json
from pathlib import Path

import click

from bitsback.cli.each import process_each
from bitsback.cli.inputs import find_inputs
from bitsback.cli.messages import print_line
from bitsback.cli.options import json_option, recursive_option, sources_argument
from bitsback.errors import DamagedFile


@click.command()
@sources_argument
@recursive_option
@click.option(
    "--borders",
    is_flag=True,
    help="Also the cost of borders between segments, but not of archives: decodes each image and "
    "codes it as one segment (slow).",
)
@click.option(
    "--levels",
    is_flag=True,
    help="Also the bits of each part of the file and of each noise level: decodes it.",
)
@click.option(
    "--device",
    help="Also what runs on this device, which is tested: cpu, cuda, or several, cuda:0,cuda:1.",
)
@click.option(
    "--model", help="With --borders, --levels, --device: name of a shipped model, or a path."
)
@json_option
def info(
    sources: tuple[Path, ...],
    recursive: bool,
    borders: bool,
    levels: bool,
    device: str | None,
    model: str | None,
    as_json: bool,
) -> None:
    """Print contents, sizes and rates of .bbk files without decoding."""
    from bitsback.codecs.bitstream.chosen import in_one_line
    from bitsback.codecs.io.facts import describe
    from bitsback.codecs.io.packed import SUFFIX, read_packed

    devices: list[str] = []
    if device is not None:
        from bitsback.cli.devices import torch_devices

        devices = torch_devices(device)

    def print_info(source: Path, _: Path | None) -> None:
        data = read_packed(source)  # once: a pipe cannot be read again
        facts = describe(source, data)
        if borders:
            facts |= border_facts(data, facts, model)
        if levels:
            facts |= level_facts(data, model)
        if devices:
            facts |= device_facts(facts.get("model", ""), model, devices)
        if as_json:
            print_line(json.dumps(facts))
        else:
            print_facts(facts)
        if facts.get("damaged"):
            raise DamagedFile(in_one_line(facts["damaged"]))

    items, failed = find_inputs(sources, recursive, {SUFFIX}, as_json)
    process_each(items, print_info, as_json=as_json, failed=failed)


def dimensions(facts: dict) -> int:
    """Samples of all images of a file."""
    return round(8 * facts["file_bytes"] / facts["bits_per_dim"])


def border_facts(data: bytes, facts: dict, model: str | None) -> dict:
    """What borders cost, in bytes and bits per dimension; nothing for an archive or a file without
    the prior."""
    from bitsback.codecs.borders import border_bits

    bits = border_bits(data, model=model)
    if bits is None:
        return {}
    return {"border_bytes": round(bits / 8), "border_bits_per_dim": bits / dimensions(facts)}


def level_facts(data: bytes, model: str | None) -> dict:
    """Bits of each part of a file, which add up to it, and the noise of each latent."""
    from bitsback.codecs.bit_costs import bit_costs

    costs = bit_costs(data, model=model)
    names = ["x", *(f"y_{k}" for k in range(len(costs.latents) - 1))]
    latents = dict(zip(names, costs.latents))
    bits = {"header": costs.header} | costs.sections | {"fallback": costs.fallback}
    bits |= {"remainders": costs.remainders} if costs.remainders else {}
    bits |= latents
    if costs.latents:
        bits["closing"] = costs.closing
    return {"bits": bits, "sigmas": dict(zip(names, costs.sigmas))}


def device_facts(model_id: str, model: str | None, devices: list[str]) -> dict:
    """What the file's model runs on devices.

    Backend of the convolutions; where a segment is coded, and by whose kernels; how many images are
    coded at once.  Nothing for a file without the prior.
    """
    if not model_id:
        return {}
    from bitsback.cli.devices import images_at_once
    from bitsback.coder.model import Model

    opened, facts = Model.of_file(model, model_id), []
    for name in devices:
        chain = opened.chain(name)
        kernels = [kind for kind, runs in chain.kernels._asdict().items() if runs]
        coder = f"tensors, kernels: {', '.join(kernels) or 'none'}" if chain.tensors else "host"
        at_once = str(images_at_once(opened, name))
        facts.append((f"{chain.network.backend.name} on {name}", coder, at_once))
    keys = "convolutions", "segments_coded", "images_at_once"
    return dict(zip(keys, ("; ".join(dict.fromkeys(some)) for some in zip(*facts))))


def print_bits(bits: dict[str, int], noise: dict[str, float], dims: int) -> None:
    """Prints a table of the parts of a file: bits, bits/dim, share, and the noise of latents."""
    total = sum(bits.values())
    print_line(f"{'part':16} {'bits':>12} {'bits/dim':>9} {'share':>7}  sigma")
    for name, count in (bits | {"file": total}).items():
        sigma = f"{noise[name]:6.2f}" if noise.get(name) else ""
        share = f"{count / dims:9.4f} {100 * count / total:6.1f}%"
        print_line(f"{name:16} {count:12} {share} {sigma}".rstrip())


def print_facts(facts: dict) -> None:
    """Prints a line for each fact, and one for each name of an archive's images."""
    facts = dict(facts)
    bits, noise = facts.pop("bits", None), facts.pop("sigmas", None)
    sizes, groups = facts.pop("sizes", []), facts.pop("groups", [])
    if not facts.pop("damaged", []) and len(groups) == 1:
        groups = []
    for key, value in facts.items():
        names = value if key == "names" else []
        if isinstance(value, list):
            value = "" if names else ", ".join(value) or "none"
        print_line(f"{key:22} {value:.4f}" if isinstance(value, float) else f"{key:22} {value}")
        for name, (width, height) in zip(names, sizes):
            print_line(f"    {name}  {width}x{height}")
    for group in groups:
        name = f"group {group['number']}"
        print_line(f"{name:22} {group['images']} images, {group['bytes']} bytes")
    if bits:
        print_bits(bits, noise, dimensions(facts))
