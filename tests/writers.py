"""The commands that write outputs, for tests of what they do to them."""

import os
import stat

from tests.commands import TINY_RUN

OTHER = b"another's"


WRITERS = {  # name: (arguments, output)
    "compress": (["compress", "a.png", "-o", "new.bbk"], "new.bbk"),
    "archive": (["compress", "--archive", "new.bbk", "in"], "new.bbk"),
    "decompress": (["decompress", "a.bbk", "-o", "new.png"], "new.png"),
    "unpack": (["decompress", "all.bbk", "--dir", "out"], "out/b.png"),
    "preview": (["preview", "a.bbk", "-o", "new.png"], "new.png"),
    "sample": (
        ["sample", "-o", "new.png", "--count", "1", "--size", "8x8", "--steps", "1"],
        "new.png",
    ),
    "train": (
        ["train", "data", "-o", "new", "-q", "--minutes", "0.001", "--batch", "8", *TINY_RUN],
        "new.ckpt",
    ),
    "export": (["export", "start.ckpt", "-o", "new"], "new"),
}


def arguments_of(command, request, folder, monkeypatch, tiny_model):
    """(arguments, output), in the folder that these are about."""
    monkeypatch.chdir(folder)
    if command == "export":
        request.getfixturevalue("checkpoint")
    arguments, output = WRITERS[command]
    return arguments + (["--model", str(tiny_model.path)] if command == "sample" else []), output


def before_writing(monkeypatch, deed):
    """Has `deed` done once when all is computed and written but for the last step."""
    real, done = os.fsync, []

    def fsync(handle):
        if not done and stat.S_ISREG(os.fstat(handle).st_mode):  # no folder
            done.append(True)
            deed()
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
