"""python -m tests.second_decoder FILE.bbk MODEL.safetensors... -o FOLDER

Writes the samples of each image, little-endian as FORMAT.md has them, to FOLDER/NUMBER.samples,
and what is known of all images to FOLDER/images.json.
"""

import argparse
import json
from pathlib import Path

from tests.second_decoder.decoder import decode_file


def written(value):
    """Raw values as JSON has them: bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: written(one) for key, one in value.items()}
    return [written(one) for one in value] if isinstance(value, (tuple, list)) else value


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.second_decoder")
    parser.add_argument("file", type=Path)
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    images = decode_file(asked.file.read_bytes(), [path.read_bytes() for path in asked.models])
    asked.output.mkdir(parents=True)
    rows = []
    for i, image in enumerate(images):
        array = image.samples
        (asked.output / f"{i}.samples").write_bytes(array.tobytes())
        told = {key: value for key, value in vars(image).items() if key != "samples"}
        rows.append(written(told) | {"shape": array.shape, "dtype": array.dtype.str})
    (asked.output / "images.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
