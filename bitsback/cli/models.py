"""The command `models`."""

import json

import click

from bitsback.cli.messages import print_line
from bitsback.cli.options import json_option


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the shipped models: id, size, training data and time."""
    from bitsback.coder.model import Model
    from bitsback.integer.model_file import shipped_models

    for name, path in shipped_models().items():
        model = Model(path)
        training = model.description["training"]
        facts = {
            "name": name,
            "id": model.id,
            "bytes": path.stat().st_size,
            "levels": len(model.levels),
            "training": training,
        }
        if as_json:
            print_line(json.dumps(facts))
        else:
            print_line(
                f"{name:10} {model.id[:16]}  {facts['bytes'] / 2**20:.1f} MiB  "
                f"{facts['levels']} levels  trained {training['minutes']:.0f} minutes "
                f"({training['device']}) on {training['data']}"
            )
