"""outputs.py, whole.py: complete files or none, no replacing without force, links and streams."""

import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

from bitsback import outputs, whole
from bitsback.errors import NoSuchFolder, OutputExists, OutputFailed

unnamed = pytest.mark.skipif(
    not hasattr(os, "O_TMPFILE") or not os.path.isdir("/proc/self/fd"),
    reason="files without a name are Linux's",
)
WAYS = ("unnamed", "named", "no links")


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """As the system allows, without O_TMPFILE, and without hard links either."""
    if request.param != "unnamed":
        monkeypatch.setattr(whole, "_unnamed", lambda *_: False)
    if request.param == "no links":

        def no_link(*_, **__):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", no_link)
    return request.param


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read_from(fifo):
    """(thread that reads all of a FIFO, list to which it appends the bytes)."""
    got = []
    thread = threading.Thread(target=lambda: got.append(fifo.read_bytes()), daemon=True)
    thread.start()
    return thread, got


def test_a_new_file_and_a_replaced_one(tmp_path, way):
    """Complete, with the default permissions and no file beside it; an old one only with force."""
    path = tmp_path / "x"
    outputs.write(b"first", path)
    with pytest.raises(OutputExists, match="x: exists already.*-f"):
        outputs.write(b"second", path)
    assert path.read_bytes() == b"first"
    outputs.write(b"third", path, force=True)
    assert path.read_bytes() == b"third"
    (tmp_path / "ordinary").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
    assert names(tmp_path) == ["ordinary", "x"]


def test_permissions_and_times_of_another_file(tmp_path, way):
    """Those of `like`, an os.stat_result or a Stamp."""
    outputs.write(b"x", tmp_path / "x", like=outputs.Stamp(0o100640, 5, 10**18 + 123456789))
    status = (tmp_path / "x").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, 10**18 + 123456789)
    outputs.write(b"y", tmp_path / "y", like=status)
    assert (tmp_path / "y").stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.parametrize(
    "error",
    [
        ValueError,
        KeyboardInterrupt,
        SystemExit,
        MemoryError,
        OSError(28, "No space left on device"),
    ],
)
@pytest.mark.parametrize("before", [None, b"old"])
def test_nothing_is_left_of_a_failure(tmp_path, way, monkeypatch, error, before):
    """Whatever ends the writing: no temporary file, and the old content if there was one."""
    path = tmp_path / "x"
    if before:
        path.write_bytes(before)

    def fails(handle):
        raise error

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises((OutputFailed, KeyboardInterrupt, SystemExit, MemoryError)):
        outputs.write(b"new", path, force=True)
    assert names(tmp_path) == (["x"] if before else []) and (
        not before or path.read_bytes() == before
    )


def test_a_name_that_another_takes_meanwhile(tmp_path, way, monkeypatch):
    """A file that appears between the check and the last step is not replaced without force."""
    path, real = tmp_path / "x", os.fsync

    def meanwhile(handle):
        if stat.S_ISREG(os.fstat(handle).st_mode):  # not the folder, at the end
            path.write_bytes(b"another's")
        real(handle)

    monkeypatch.setattr(os, "fsync", meanwhile)
    outputs.refuse(path, [], False)
    with pytest.raises(OutputExists, match="x: exists"):
        outputs.write(b"ours", path)
    assert path.read_bytes() == b"another's" and names(tmp_path) == ["x"]
    outputs.write(b"ours", path, force=True)
    assert path.read_bytes() == b"ours" and names(tmp_path) == ["x"]


@pytest.mark.parametrize("place", WAYS)
def test_many_writers_of_one_name(tmp_path, monkeypatch, place):
    """Of eight threads without force exactly one writes its file; the others raise an error."""
    if place != "unnamed":
        monkeypatch.setattr(whole, "_unnamed", lambda *_: False)
    if place == "no links":
        monkeypatch.setattr(
            os, "link", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "no"))
        )
    for round_ in range(20):
        path, start, told = tmp_path / f"{round_}", threading.Barrier(8), []

        def work(i, path=path, start=start, told=told):
            start.wait()
            try:
                outputs.write(bytes([i]) * 1000, path)
                told.append(i)
            except OutputExists:
                pass

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 1 and path.read_bytes() == bytes(told) * 1000
    assert len(names(tmp_path)) == 20


@unnamed
def test_a_killed_writer_leaves_no_part(tmp_path):
    """SIGKILL after half of the data: no file at all, since it has no name yet."""
    code = (
        "import os, signal, sys; from bitsback import outputs\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "outputs.write(b'x' * 10000, sys.argv[1])"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "x"]).returncode == -9
    assert names(tmp_path) == []


# --- links, FIFOs, devices, and what is none of these -------------------------------------------


@pytest.mark.parametrize("dangling", [False, True])
def test_links_are_followed(tmp_path, way, dangling):
    """The link stays and its target gets the data, by a temporary file beside the target; not
    without force.
    """
    (tmp_path / "far").mkdir()
    target, middle, link = tmp_path / "far" / "target", tmp_path / "middle", tmp_path / "link"
    middle.symlink_to("far/target")
    link.symlink_to(middle)
    if not dangling:
        target.write_bytes(b"old")
    for use in (lambda: outputs.refuse(link, [], False), lambda: outputs.write(b"new", link)):
        with pytest.raises(OutputExists, match="link: exists already"):
            use()
    assert target.exists() != dangling
    outputs.write(b"new", link, force=True)
    assert target.read_bytes() == b"new" and names(tmp_path / "far") == ["target"]
    assert os.readlink(link) == str(middle) and os.readlink(middle) == "far/target"


def test_links_that_lead_nowhere(tmp_path):
    """To a missing folder or in a circle: refused with the name."""
    (tmp_path / "a").symlink_to(tmp_path / "nowhere" / "x")
    with pytest.raises(NoSuchFolder, match="a: links to"):
        outputs.write(b"x", tmp_path / "a", force=True)
    (tmp_path / "b").symlink_to(tmp_path / "b")
    with pytest.raises(OutputFailed, match="b: "):
        outputs.write(b"x", tmp_path / "b", force=True)
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("linked", [False, True])
def test_a_fifo_is_written_to(tmp_path, linked):
    """Its reader gets the data, and it stays a FIFO; not without force."""
    fifo = path = tmp_path / "fifo"
    os.mkfifo(fifo)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(fifo)
    with pytest.raises(OutputExists):
        outputs.refuse(path, [], False)
    with pytest.raises(OutputExists):
        outputs.write(b"data", path)
    thread, got = read_from(fifo)
    outputs.write(b"data" * 50_000, path, force=True)
    thread.join(10)
    assert got == [b"data" * 50_000] and stat.S_ISFIFO(fifo.stat().st_mode)
    assert path.is_symlink() == linked


def test_a_fifo_whose_reader_goes(tmp_path):
    """An error with the name, unlike a closed standard output."""
    os.mkfifo(tmp_path / "fifo")

    def look():
        with open(tmp_path / "fifo", "rb") as stream:
            stream.read(1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    with pytest.raises(OutputFailed, match="fifo: Broken pipe"):
        outputs.write(bytes(2**20), tmp_path / "fifo", force=True)
    thread.join(10)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's devices")
def test_devices_are_written_to(tmp_path):
    """Through a link, so that no device is in danger: the null device takes all, a full one is an
    error.
    """
    for name in ("null", "full"):
        (tmp_path / name).symlink_to(f"/dev/{name}")
    outputs.write(b"data", tmp_path / "null", force=True)
    with pytest.raises(OutputFailed, match="full: No space left on device"):
        outputs.write(b"data", tmp_path / "full", force=True)
    for name in ("null", "full"):
        assert os.readlink(tmp_path / name) == f"/dev/{name}" and stat.S_ISCHR(
            os.stat(f"/dev/{name}").st_mode
        )
    assert not outputs.is_file(tmp_path / "null") and outputs.is_file(tmp_path / "new")


def test_sockets_and_folders_are_refused(tmp_path, monkeypatch):
    """Even with force, before and after the work, and they stay."""
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name in ("socket", "folder"):
            for use in (outputs.refuse, lambda path, *_: outputs.write(b"x", path, force=True)):
                with pytest.raises(OutputExists, match=name):
                    use(tmp_path / name, [], True)
    assert names(tmp_path) == ["folder", "socket"] and stat.S_ISSOCK(os.stat("socket").st_mode)


def test_plain_outputs(tmp_path):
    """Outputs of an archive: neither links nor FIFOs are replaced, even with force."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("nothing")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "dangling", "fifo"):
        for use in (
            outputs.refuse,
            lambda path, *_: outputs.write(b"x", path, force=True, regular=True),
        ):
            with pytest.raises(OutputExists, match=f"{name}: is a link or not a regular file"):
                use(tmp_path / name, [], True, True)
    outputs.write(b"new", tmp_path / "file", force=True, regular=True)
    assert (tmp_path / "file").read_bytes() == b"new" and names(tmp_path) == [
        "dangling",
        "fifo",
        "file",
        "link",
    ]


# --- names, folders, standard output --------------------------------------------------------------


@pytest.mark.parametrize("length", [230, 244, 255])
def test_long_names(tmp_path, way, length):
    """As long as the file system allows."""
    path = tmp_path / ("x" * length)
    outputs.write(b"data", path)
    outputs.write(b"other", path, force=True)
    assert path.read_bytes() == b"other" and names(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["x" * 256, "x\0y"])
def test_impossible_names(tmp_path, name):
    """One error that contains the name, before the work as after it."""
    for use in (
        lambda: outputs.refuse(tmp_path / name, [], False),
        lambda: outputs.write(b"", tmp_path / name),
    ):
        with pytest.raises(OutputFailed, match="xx|null"):
            use()


def test_a_missing_folder(tmp_path):
    """It is not created."""
    for use in (
        lambda: outputs.refuse(tmp_path / "nowhere" / "x", [], False),
        lambda: outputs.write(b"", tmp_path / "nowhere" / "x"),
    ):
        with pytest.raises(NoSuchFolder, match="nowhere"):
            use()
    assert names(tmp_path) == []


def test_a_full_disk(tmp_path):
    """A limit of 4096 bytes a file and 5000 to be written: an error with the name, no part left,
    the old file kept.
    """
    (tmp_path / "old").write_bytes(b"old")
    code = (
        "import resource, sys; from bitsback import errors, outputs, whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "if sys.argv[2] == 'named': whole._unnamed = lambda *_: False\n"
        "try: outputs.write(bytes(5000), sys.argv[1], force=True)\n"
        "except errors.OutputFailed as error: print(error)"
    )
    for way in WAYS[:2]:
        for name in ("old", "new"):
            done = subprocess.run(
                [sys.executable, "-c", code, tmp_path / name, way], capture_output=True, text=True
            )
            assert done.stdout == f"{tmp_path / name}: File too large\n" and not done.stderr
    assert names(tmp_path) == ["old"] and (tmp_path / "old").read_bytes() == b"old"


def test_the_programs_own_output_is_not_replaced(tmp_path):
    """/dev/stdout that is a file: refused, since earlier output in it would be lost."""
    code = (
        "from bitsback import errors, outputs; print('said', flush=True)\n"
        "try: outputs.refuse('/dev/stdout', [], True)\n"
        "except errors.OutputExists as error: print(error)"
    )
    with open(tmp_path / "log", "w") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
    assert (tmp_path / "log").read_text("utf-8").startswith("said\n/dev/stdout: is standard output")
