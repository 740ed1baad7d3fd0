"""Models that a user adds: kept by id after a check, found when decoding, removed; the frozen list
of shipped ones; --version."""

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bitsback import __version__, whole
from bitsback.cli.resources import model_path, open_model
from bitsback.codecs import decode
from bitsback.codecs.bitstream.version import VERSION_NAME
from bitsback.coder import models_folder as folder_module
from bitsback.coder.model import Model
from bitsback.coder.models_folder import add_model, remove_model
from bitsback.errors import InputChanged, OutputExists, OutputFailed, WrongModel
from bitsback.integer import installed
from bitsback.integer.installed import (
    ARITHMETIC_VERSION,
    FOLDER_VARIABLE,
    added_models,
    find_model,
    models_folder,
    shipped_models,
    stored_id,
)
from bitsback.integer.model_file import read_model, write_model
from tests.commands import call, error_lines, load, names, save

FROZEN = Path(__file__).parent / "golden" / "MODELS"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The user's folder, which is not there yet."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "user" / "models"))
    return tmp_path / "user" / "models"


@pytest.fixture
def kept(folder, tiny_model):
    """The path of the tiny model, added."""
    return add_model(tiny_model.path).path


@pytest.fixture
def shipped(tiny_model, tmp_path, monkeypatch):
    """As if the tiny model were the only one shipped."""
    place = tmp_path / "package"
    place.mkdir()
    (place / "default.safetensors").write_bytes(tiny_model.path.read_bytes())
    monkeypatch.setattr(installed, "MODELS", place)
    return place / "default.safetensors"


def altered(model, path, **description):
    """The model's file with something else in its description."""
    tensors, told, _ = read_model(model.path)
    write_model(path, tensors, told | description)
    return path


# --- adding ----------------------------------------------------------------------------------


def test_a_file_decodes_with_an_added_model(
    folder, tiny_model, other_model, prior_file, photograph, tmp_path
):
    """Before, the error says how to add it; after, no --model is needed, in any interface."""
    pixels = photograph(56, 48)
    (tmp_path / "x.bbk").write_bytes(prior_file(pixels))
    (line,) = error_lines(call("decompress", tmp_path / "x.bbk"))
    assert tiny_model.id[:16] in line and "`bitsback models add FILE`" in line
    result = call("models", "add", tiny_model.path)
    assert result.exit_code == 0 and "kept" in result.stdout
    assert names(folder) == [f"{tiny_model.id[:16]}.safetensors"]
    assert call("decompress", tmp_path / "x.bbk").exit_code == 0
    assert np.array_equal(load(tmp_path / "x.png"), pixels)
    another = Model(other_model.path)  # its own: a model keeps the one that a file names
    assert np.array_equal(decode((tmp_path / "x.bbk").read_bytes(), model=another), pixels)
    assert call("models", "remove", tiny_model.id[:16]).exit_code == 0
    assert call("test", tmp_path / "x.bbk").exit_code == 1


@pytest.mark.parametrize("force", [False, True])
def test_adding_twice(kept, tiny_model, force):
    """Says so, and leaves the file as it is; also where the file says more about its training."""
    before, again = kept.stat(), altered(tiny_model, kept.parents[2] / "m", training={})
    for source in (tiny_model.path, again):
        result = call("models", "add", source, *(["-f"] if force else []))
        assert result.exit_code == 0 and "here already" in result.stdout
        assert os.stat(kept).st_mtime_ns == before.st_mtime_ns and len(names(kept.parent)) == 1


def test_adding_a_shipped_model(folder, shipped, tiny_model):
    result = call("models", "add", "--json", tiny_model.path)
    facts = json.loads(result.stdout)
    assert facts["shipped"] and not facts["new"] and facts["path"] == str(shipped)
    assert facts["id"] == tiny_model.id and not folder.exists()


def _no_id(model, path):
    altered(model, path)
    text = path.read_bytes()
    path.write_bytes(text.replace(b'\\"id\\"', b'\\"ie\\"'))


def _one_bit(model, path):
    data = bytearray(model.path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


NOT_MODELS = {
    "text": (lambda m, p: p.write_text("no model"), "not a bitsback model"),
    "nothing": (lambda m, p: p.touch(), r"empty"),
    "a folder": (lambda m, p: p.mkdir(), "is a folder"),
    "no file": (lambda m, p: None, "No such file"),
    "a pipe": (lambda m, p: os.mkfifo(p), "not a regular file"),
    "no end of bytes": (lambda m, p: (p.touch(), os.truncate(p, 2**30 + 1)), "at most 1073741824"),
    "a cut model": (lambda m, p: p.write_bytes(m.path.read_bytes()[:-1]), "not a bitsback model"),
    "one bit": (_one_bit, "damaged, its numbers"),
    "no id": (_no_id, "does not say its id"),
    "levels": (lambda m, p: altered(m, p, levels=[[0, 999]] * 9), "not a model that works"),
    "arithmetic": (lambda m, p: altered(m, p, arithmetic=6), "arithmetic 6, this program"),
    "a list": (
        lambda m, p: p.write_bytes((22).to_bytes(8, "little") + b'{"__metadata__": "[]"}'),
        "not a bitsback model",
    ),
}


@pytest.mark.parametrize("kind", NOT_MODELS)
def test_what_is_no_model_is_refused(kind, folder, tiny_model, tmp_path):
    """One error with its name, and nothing is kept; other files of the command are."""
    make, reason = NOT_MODELS[kind]
    make(tiny_model, tmp_path / "bad")
    result = call("models", "add", tmp_path / "bad", tiny_model.path)
    (line,) = error_lines(result)
    assert result.exit_code == 1 and line.startswith(f"bitsback: {tmp_path / 'bad'}: ")
    assert re.search(reason, line)
    assert names(folder) == [f"{tiny_model.id[:16]}.safetensors"]


def test_a_file_that_changes_while_it_is_read(folder, tiny_model, tmp_path, monkeypatch):
    source = tmp_path / "m"
    source.write_bytes(tiny_model.path.read_bytes())

    def read(stream, most):
        with open(source, "ab") as other:
            other.write(b"x")
        return tiny_model.path.read_bytes()

    monkeypatch.setattr(folder_module, "read_limited", read)
    with pytest.raises(InputChanged, match="m: was written to"):
        add_model(source)
    assert not folder.exists()


def test_another_file_of_that_name(folder, tiny_model, other_model):
    """It stays unless -f is given; links and folders stay in any case."""
    target = folder / f"{tiny_model.id[:16]}.safetensors"
    folder.mkdir(parents=True)
    for other in (b"something else", other_model.path.read_bytes()):
        target.write_bytes(other)
        with pytest.raises(OutputExists, match=f"{target.name}: is in the way of .*-f replaces"):
            add_model(tiny_model.path)
        assert target.read_bytes() == other
        assert add_model(tiny_model.path, force=True).new and stored_id(target) == tiny_model.id
    target.unlink()
    (folder / "precious").write_bytes(b"mine")
    target.symlink_to(folder / "precious")
    for force in (False, True):
        with pytest.raises(OutputExists, match="is in the way"):
            add_model(tiny_model.path, force=force)
    assert (folder / "precious").read_bytes() == b"mine" and target.is_symlink()


def test_links(folder, tiny_model, tmp_path):
    """A link to a model can be added, and kept by hand; removing it leaves what it leads to."""
    (tmp_path / "link").symlink_to(tiny_model.path)
    kept = add_model(tmp_path / "link").path
    assert not kept.is_symlink()
    kept.unlink()
    kept.symlink_to(tiny_model.path)
    assert find_model(tiny_model.id[:8]) == kept and not add_model(tiny_model.path).new
    assert remove_model(tiny_model.id) == kept and tiny_model.path.is_file()
    assert not os.path.lexists(kept)


@pytest.mark.parametrize("same", [True, False])
def test_two_processes_at_once(same, folder, tiny_model, monkeypatch):
    """The other one was first: its file is this model, or is in the way and stays."""
    other, write = tiny_model.path.read_bytes() if same else b"other", folder_module.write

    def late(data, path, **options):
        path.write_bytes(other)
        write(data, path, **options)

    monkeypatch.setattr(folder_module, "write", late)
    if same:
        assert not add_model(tiny_model.path).new
    else:
        with pytest.raises(OutputExists, match="in the way"):
            add_model(tiny_model.path)
    (path,) = folder.iterdir()
    assert path.read_bytes() == other


def test_a_full_disk(folder, tiny_model, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole.os, "fsync", full)
    with pytest.raises(OutputFailed, match="No space left"):
        add_model(tiny_model.path)
    assert names(folder) == []


# --- the folder ------------------------------------------------------------------------------


def test_where_the_folder_is(monkeypatch, tmp_path):
    """The variable; else the user's data folder; nowhere without a home."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert models_folder() == tmp_path
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if sys.platform == "linux":
        assert models_folder() == tmp_path / "data" / "bitsback" / "models"
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: Path("~/x"))
    assert models_folder() is None and added_models() == ({}, [])


def test_no_home(monkeypatch, tiny_model):
    monkeypatch.setattr(folder_module, "models_folder", lambda: None)
    with pytest.raises(OutputFailed, match=f"no home folder.*{FOLDER_VARIABLE}"):
        add_model(tiny_model.path)


def test_a_folder_that_cannot_be_made_or_read(tmp_path, monkeypatch, tiny_model, shipped):
    """One error that names it and the variable; what is shipped is found as ever."""
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "models"):
        monkeypatch.setenv(FOLDER_VARIABLE, str(place))
        with monkeypatch.context() as patch:
            patch.setattr(installed, "MODELS", tmp_path / "none")
            with pytest.raises(OutputFailed, match=f"{place}: cannot be made.*{FOLDER_VARIABLE}"):
                add_model(tiny_model.path)
            with pytest.raises(WrongModel, match=f"not here.*left out: {place}: Not a dir"):
                Model.open(model_id=tiny_model.id[:16])
        assert Model.open(model_id=tiny_model.id[:16]).path == shipped
        result = call("models")
        assert result.exit_code == 0 and tiny_model.id[:16] in result.stdout
        assert error_lines(result) == [f"bitsback: left out: {place}: Not a directory"]
        assert call("--version").exit_code == 0
        assert call("models", "remove", "something").exit_code == 1


def test_broken_files_break_nothing_else(kept, tiny_model, prior_file, photograph):
    """The list names each with the reason, and the whole model is found beside them, also where a
    damaged copy of it comes first."""
    place, data = kept.parent, tiny_model.path.read_bytes()
    broken = {
        "0damaged": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[:100],
        "empty": b"",
        "text": b"x" * 99,
    }
    for name, content in broken.items():
        (place / f"{name}.safetensors").write_bytes(content)
    os.mkfifo(place / "pipe.safetensors")
    (place / "folder.safetensors").mkdir()
    (place / "lost.safetensors").symlink_to(place / "nothing")
    (place / "note.txt").touch()
    altered(tiny_model, place / "old.safetensors", arithmetic=6)
    result = call("models", "--json")
    facts = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    (one,) = [fact for fact in facts if fact["added"]]
    assert one["path"] == str(kept) and one["id"] == tiny_model.id
    left_out = {re.search(r"(\w+)\.safetensors: ", line)[1] for line in error_lines(result)}
    assert left_out == {*broken, "pipe", "folder", "lost", "old"}
    pixels = photograph(56, 48)
    assert np.array_equal(decode(prior_file(pixels)), pixels)
    kept.unlink()
    with pytest.raises(WrongModel, match="0damaged.safetensors: damaged"):
        Model.open(model_id=tiny_model.id[:16])
    with pytest.raises(WrongModel, match="old.safetensors: arithmetic 6"):
        Model.open(model_id="0" * 16)
    for name in (*broken, "pipe", "old", "lost"):
        assert call("models", "remove", name).exit_code == 0
    (line,) = error_lines(call("models", "remove", "folder"))
    assert line.startswith(f"bitsback: {place / 'folder.safetensors'}: ")
    assert sorted(path.name for path in place.iterdir()) == ["folder.safetensors", "note.txt"]


def test_the_folder_is_read_where_nothing_shipped_is_the_model(
    kept, tiny_model, shipped, monkeypatch
):
    """Or where that is damaged."""
    with monkeypatch.context() as patch:
        patch.setattr(installed, "folder_files", lambda: pytest.fail("looked into the folder"))
        assert Model.open(model_id=tiny_model.id[:16]).path == shipped
        assert Model.open().path == shipped
    data = shipped.read_bytes()
    shipped.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert Model.open(model_id=tiny_model.id[:16]).path == kept
    kept.unlink()
    with pytest.raises(WrongModel, match="default.safetensors: damaged"):
        Model.open(model_id=tiny_model.id[:16])


# --- names, the list, removing ---------------------------------------------------------------


def test_names_of_models(kept, tiny_model, shipped, other_model, folder, tmp_path, monkeypatch):
    """Shipped names first, then paths, names in the folder, and digits of an id."""
    other = add_model(other_model.path).path
    (folder / "default.safetensors").write_bytes(other_model.path.read_bytes())
    (folder / "mine.safetensors").write_bytes(other_model.path.read_bytes())
    assert find_model("default") == shipped and find_model(kept) == kept
    assert find_model("mine") == folder / "mine.safetensors"
    assert find_model(other_model.id[:16]) == other
    assert stored_id(find_model(other_model.id[:8])) == other_model.id
    assert find_model(tiny_model.id) == shipped
    assert Model.open(other_model.id[:9]).id == other_model.id
    for name in (other_model.id[:7], "0" * 16, "nothing", "a\0b"):
        with pytest.raises(WrongModel, match="no such model; shipped: default; added: "):
            find_model(name)
    alike = {Path("a"): "0123456789ab" + "0" * 52, Path("b"): "0123456789ac" + "0" * 52}
    monkeypatch.setattr(installed, "added_models", lambda: (alike, []))
    assert find_model("0123456789ac") == Path("b")
    with pytest.raises(WrongModel, match="several models: 0123456789a[bc]"):
        find_model("0123456789a")


def test_model_of_a_run(kept, tiny_model, photograph, tmp_path, capsys):
    """--model takes digits of an id, here and for the processes of -j, which get the path."""
    save(photograph(24, 24), tmp_path / "a.png")
    assert call("compress", tmp_path / "a.png", "--model", tiny_model.id[:12]).exit_code == 0
    assert model_path(tiny_model.id[:12]) == str(kept)
    assert model_path(None) == str(shipped_models()["default"])
    for run in (
        lambda: model_path("abcdefabcdef"),
        lambda: open_model("abcdefabcdef", "cpu", False),
    ):
        with pytest.raises(SystemExit):
            run()
        assert capsys.readouterr().err.startswith(
            "bitsback: abcdefabcdef: no such model; shipped: "
        )


def test_the_list(kept, tiny_model, shipped, other_model):
    """Shipped, then added with where they lie; --json before or after the subcommand."""
    first = json.loads(call("models", "--json", "add", other_model.path).stdout)
    again = json.loads(call("models", "add", "--json", other_model.path).stdout)
    assert first["new"] and first | {"new": False} == again
    lines = call("models").stdout.splitlines()
    assert len(lines) == 3 and lines[0].startswith("default ")
    assert all(line.startswith("added ") for line in lines[1:])
    assert {line.split("  in ")[1] for line in lines[1:]} == {str(kept), first["path"]}
    gone = json.loads(call("models", "remove", other_model.id[:8], "--json").stdout)
    assert gone["path"] == first["path"] and not Path(first["path"]).exists()


def test_what_a_model_does_not_say(folder, tiny_model, tmp_path):
    """A file from elsewhere may say anything of its training, or nothing."""
    for training in (None, [], {"minutes": "long"}, {"minutes": 1}):
        path = add_model(altered(tiny_model, tmp_path / "m", training=training)).path
        result = call("models")
        assert "training unknown" in result.stdout and result.exit_code == 0
        assert Model.open(model_id=tiny_model.id[:16]).codes_gray
        path.unlink()
        (tmp_path / "m").unlink()


def test_a_damaged_shipped_model(shipped, folder):
    """An error and status 1: unlike a file of the user's, it must be there."""
    os.truncate(shipped, 50)
    result = call("models")
    (line,) = error_lines(result)
    assert result.exit_code == 1 and line.startswith(f"bitsback: {shipped}: not a bitsback model")
    assert "damaged  default" in call("--version").stdout


def test_removing(kept, tiny_model, shipped, folder):
    """The added one of an id that is shipped, too; then nothing but an error."""
    (folder / "two.safetensors").write_bytes(tiny_model.path.read_bytes())
    with pytest.raises(WrongModel, match="several models: .*two.safetensors"):
        remove_model(tiny_model.id[:10])
    with pytest.raises(WrongModel, match="no such model was added"):
        remove_model(tiny_model.id[:7])
    assert remove_model(tiny_model.id[:16]) == kept and remove_model("two.safetensors")
    for name in ("default", tiny_model.id, tiny_model.id[:16]):
        (line,) = error_lines(call("models", "remove", name))
        assert line == f"bitsback: {name}: comes with bitsback; only added models are removed"
    assert shipped.exists() and call("models", "remove", "nothing").exit_code == 1


# --- what is shipped, and what is said of it --------------------------------------------------


def test_shipped_models_are_those_of_the_frozen_list():
    """Each file of tests/golden/MODELS is in the package, under whatever name, bit for bit; none
    is there that the list does not have."""
    lines = [line.split() for line in FROZEN.read_text("utf-8").splitlines() if line[0] != "#"]
    here = {
        stored_id(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in shipped_models().values()
    }
    assert here == {model_id: digest for _, model_id, digest in lines}
    assert len({model_id[:16] for model_id in here}) == len(lines) >= 3


def test_nothing_writes_the_frozen_list():
    """It is named where it is read and described, and nowhere else."""
    root, named = FROZEN.parents[2], "golden/" + FROZEN.name
    for path in [*root.rglob("*.py"), *root.rglob("*.sh"), *(root / ".ci").iterdir()]:
        text = path.read_text("utf-8")
        assert (
            path == Path(__file__)
            or named not in text
            and '"MODELS"' not in text.replace('(installed, "MODELS"', "")
        ), path


def test_version(kept, tiny_model, shipped):
    """Program, format, arithmetic, then models, shipped first."""
    assert call("--version").stdout.splitlines() == [
        f"bitsback {__version__}",
        f"format {VERSION_NAME}",
        f"arithmetic {ARITHMETIC_VERSION}",
        f"model {tiny_model.id[:16]}  default",
        f"model {tiny_model.id[:16]}  {kept}",
    ]


def test_version_loads_little():
    """Neither torch nor numba: it is there at once."""
    code = (
        "import sys; from bitsback.cli.main import main; main(['--version'], standalone_mode=False)"
        "; print(*{'torch', 'numba', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "", done
    assert done.stdout.count("model ") == len(shipped_models())
