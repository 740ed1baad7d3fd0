"""The command `view`: who gets in, what the page is given at each step, and the page itself."""

import dataclasses
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from bitsback.cli import view, view_contents
from bitsback.cli.view_contents import Contents
from bitsback.cli.view_server import Server
from bitsback.codecs import encode, encode_image, groups
from bitsback.codecs.archive import encode_archive
from bitsback.codecs.bit_map import bit_map
from bitsback.codecs.bitstream import container
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import ImageData
from bitsback.codecs.segment_layout import turned
from bitsback.errors import DamagedFile, WrongModel
from bitsback.sampling.preview import PALE
from tests.commands import call, error_lines, python

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=document.title='fallen'>"


@pytest.fixture
def serve():
    """serve(files) -> a Server, closed after the test."""
    servers = []

    def start(files):
        servers.append(Server(files, 0))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answer(server, path, hosts=("127.0.0.1:1",), method="GET", **headers):
    """(status, headers, body) of one request, sent as it is."""
    fields = [*(f"Host: {host}" for host in hosts), *(": ".join(one) for one in headers.items())]
    request = "\r\n".join([f"{method} {path} HTTP/1.0", *fields, "", ""])
    with socket.create_connection(server.server_address, timeout=10) as client:
        client.sendall(request.encode("latin-1"))
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), dict(one.split(": ", 1) for one in fields), body


def picture(contents, name="0.png"):
    return np.array(Image.open(io.BytesIO(contents.files[name])))


def state(contents):
    return json.loads(contents.files["state.json"])


def of_other_pixels(data):
    """A file whose digest is not that of its pixels."""
    header, payload = container.read(data)
    other = bytes([header.digest[0] ^ 1]) + header.digest[1:]
    return container.write(dataclasses.replace(header, digest=other), payload)


def test_who_knows_the_address_gets_in(serve, tmp_path):
    """Names of `files` after the token, to the letter; nothing of the file system."""
    (tmp_path / "secret").write_text("secret")
    server = serve({"": b"page NONCE", "a.json": b"{}"})
    token = server.token
    assert len(token) >= 32 and token != serve({}).token
    with urllib.request.urlopen(server.address) as page:
        assert page.read() == b"page " + server.nonce.encode()
    assert answer(server, f"/{token}/a.json?1")[::2] == (200, b"{}")
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    for path in (
        *("/", "/a.json", f"/{wrong}/a.json", f"/{token[:-1]}/a.json", f"/{token}", "*", token),
        *(f"/{token}/b.json", f"/{token}//a.json", f"/{token}/x/a.json", f"/x/{token}/a.json"),
        *(f"/{token}/../a.json", f"/{token}{tmp_path}/secret", f"/{token}/%61.json", "//"),
        *(f"/a.json?{token}", f"http://127.0.0.1/{token}/a.json", "/\xff/a.json", "/a.json/.."),
    ):
        status, _, body = answer(server, path)
        assert status == 404 and b"secret" not in body, path


def test_pages_of_others_are_refused(serve):
    """Names that a hostile page may have made resolve to loopback, none, two."""
    server = serve({"a.json": b"{}"})
    path = f"/{server.token}/a.json"
    port = server.server_address[1]
    hosts = (
        "evil.example",
        f"127.0.0.1.evil.example:{port}",
        f"localhost.evil:{port}",
        "0.0.0.0",
        "",
    )
    for host in (*([one] for one in hosts), [], ["127.0.0.1", "evil.example"]):
        assert answer(server, path, host)[0] == 403, host
    for host in ("127.0.0.1", f"localhost:{port}"):
        assert answer(server, path, [host])[0] == 200, host


def test_every_answer_is_closed_to_others(serve):
    """No script but the page's, nothing kept, no other site may read; GET only."""
    server = serve({"": b"page", "a.json": b"{}", "0.png": b"png"})
    for name, kind in {"": "text/html", "a.json": "application/json", "0.png": "image/png"}.items():
        status, headers, _ = answer(server, f"/{server.token}/{name}", Origin="http://evil.example")
        assert status == 200 and headers["Content-Type"].startswith(kind)
        assert headers["Cache-Control"] == "no-store" and "nosniff" in headers.values()
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and server.nonce in policy
        assert not [one for one in headers if one.lower().startswith("access-control")]
    status, headers, _ = answer(server, "/nothing")
    assert status == 404 and "Content-Security-Policy" in headers
    for method in ("POST", "OPTIONS", "PUT", "DELETE"):
        assert answer(server, f"/{server.token}/", method=method)[0] == 501


def test_only_loopback_is_bound(serve):
    server = serve({})
    assert server.socket.getsockname()[0] == "127.0.0.1"
    for other in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
        if other != "127.0.0.1":
            with pytest.raises(OSError):
                socket.create_connection((other, server.server_address[1]), timeout=2).close()


def test_browsers_come_and_go(serve, capfd):
    """Connections that are cut, or say nonsense, end nothing and print nothing."""
    server = serve({"": bytes(2**24)})
    for request in (
        b"",
        b"GET /",
        b"nonsense\r\n\r\n",
        f"GET /{server.token}/ HTTP/1.0\r\n".encode(),
    ):
        client = socket.create_connection(server.server_address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, *bytes(7)]))  # reset
        client.sendall(request + b"Host: 127.0.0.1\r\n\r\n" * (b"HTTP" in request))
        client.close()
    assert len(answer(server, f"/{server.token}/")[2]) == 2**24
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def pixels(photograph):
    return photograph(72, 64)


@pytest.fixture(scope="module")
def data(prior_file, pixels):
    return prior_file(pixels)


def steps_of(contents):
    """Decodes; returns [(step, share, picture)] of all that the page was given."""
    seen, update = [], contents.update

    def watch(**changes):
        update(**changes)
        if "pictures" in changes and changes["pictures"]:
            seen.append(
                (changes["pictures"][0]["step"], contents.state["share"], picture(contents))
            )

    contents.update = watch
    contents.decode("cpu")
    return seen


def test_an_image_appears_segment_by_segment(tmp_path, data, pixels, tiny_model):
    """Preview, segments, the checked image, the map; what is opaque is decoded, in any corner."""
    header = container.read_header(data)
    contents = Contents(tmp_path / "a.bbk", data, tiny_model)
    assert state(contents)["pictures"] == [] and state(contents)["facts"]["segments"] > 1
    seen = steps_of(contents)
    count = len(header.segments)
    assert [step for step, *_ in seen] == ["preview", *["decoding"] * count, "checked"]
    assert (seen[0][2][..., 3] == PALE).all()
    decoded = [(shown[..., 3] == 255).sum() for _, _, shown in seen[:-1]]
    assert decoded == sorted(set(decoded))
    for _, share, shown in seen[1:-1]:
        opaque = shown[..., 3] == 255
        assert abs(opaque.mean() - share) < 1e-9
        assert (shown[opaque][:, :3] == pixels[opaque]).all() and (
            shown[~opaque][:, 3] == PALE
        ).all()
    _, rows, columns = header.start
    assert not turned(opaque, header.flips)[:rows, :columns].any()
    assert opaque.sum() == opaque.size - rows * columns
    assert np.array_equal(seen[-1][2], pixels)
    found, last = bit_map(data, model=tiny_model), state(contents)
    assert last["done"] and last["brightest"] == found.brightest
    assert round(sum(last["parts"].values())) == len(data) == last["facts"]["file_bytes"]
    assert np.array_equal(picture(contents, "map.png"), found.heat)


def test_images_of_other_kinds(tmp_path):
    """Of the fallback codec; of 16 bits as the prior sees them; with alpha; of modes not shown."""
    samples = (np.arange(35, dtype=np.uint16) * 100).reshape(5, 7)
    alpha = np.arange(60, dtype=np.uint8).reshape(3, 5, 4)
    for image, shown in (
        (ImageData("I;16", samples), ImageData("I;16", samples).colour[..., 0]),
        (ImageData("RGBA", alpha), alpha),
        (ImageData("CMYK", alpha), None),
    ):
        contents = Contents(tmp_path / "a.bbk", encode_image(image), None)
        contents.decode("cpu")
        (one,) = state(contents)["pictures"]
        assert one["step"] == "checked" and state(contents)["done"]
        if shown is None:
            assert one["width"] == 0 and contents.files["0.png"] == b""
        else:
            assert np.array_equal(picture(contents), shown)


def test_metadata_are_told_with_their_sizes(tmp_path):
    """By key, or those of a PNG or TIFF by name; of very many, the first ones."""
    text = (("Comment", "x" * 50, "", "", False),)
    image = ImageData("L", np.eye(4, dtype=np.uint8), metadata={"exif": bytes(99), "text": text})
    contents = Contents(tmp_path / "a\u202ebbk", encode_image(image), None)
    contents.decode("cpu")
    sizes = state(contents)["metadata"]
    assert sizes["exif"] == 99 and sizes["text"] > 57 and len(sizes) == 2
    assert state(contents)["facts"]["file"] == "a\\u202ebbk"
    chunks = [(b"eXIf", 0, bytes(70)), (b"tEXt", 0, b"a\0b"), (b"tEXt", 0, b"c\0d")]
    sizes = metadata.sizes({"png": chunks})
    assert list(sizes) == ["exif", "text"] and sizes["exif"] > 70 and sizes["text"] > 6
    many = [(b"ab" + bytes([65 + i, 65 + j]), 0, b"x") for i in range(26) for j in range(26)]
    sizes = metadata.sizes({"png": many})
    assert len(sizes) == metadata.MOST_LISTED + 1 and sizes["others"] > 500


def test_large_images_are_sent_smaller(tmp_path, monkeypatch, photograph):
    monkeypatch.setattr(view_contents, "LONGEST", 10)
    monkeypatch.setattr(view_contents, "MAPPED", 30 * 19)
    contents = Contents(tmp_path / "a.bbk", encode(photograph(30, 20)), None)
    contents.decode("cpu")
    assert picture(contents).shape == (10, 7, 3) and "map.png" not in contents.files
    assert state(contents)["pictures"][0]["height"] == 30


@pytest.fixture(scope="module")
def archive(tmp_path_factory, photograph):
    """(bytes, {name: pixels}) of an archive, one of whose names is hostile."""
    folder, images = tmp_path_factory.mktemp("set"), {}
    for i, name in enumerate(("a.png", f"{HOSTILE}.png", "c.png")):
        images[name] = photograph(6 + i, 8, i)
        Image.fromarray(images[name]).save(folder / name)
    return encode_archive([folder])[0], images


def test_images_of_an_archive(tmp_path, archive, monkeypatch):
    """One after the other, each of them checked; the first ones of very many."""
    contents = Contents(tmp_path / "set.bbk", archive[0], None)
    contents.decode("cpu")
    found = state(contents)["pictures"]
    assert len(found) == 3 and {one["step"] for one in found} == {"checked"}
    for i, one in enumerate(found):
        name = one["name"].rpartition(", ")[0]
        assert np.array_equal(picture(contents, f"{i}.png"), archive[1][name])
    monkeypatch.setattr(view_contents, "MOST", 2)
    contents = Contents(tmp_path / "set.bbk", archive[0], None)
    contents.decode("cpu")
    assert state(contents)["pictures"] == found[:2] and state(contents)["done"]


def test_damaged_groups_leave_the_other_pictures(tmp_path, photograph, tiny_model, monkeypatch):
    """A group that cannot be read, one of other pixels than its digest tells: both are named, on
    the page and on standard error.
    """
    monkeypatch.setattr(groups, "GROUP_IMAGES", 1)
    monkeypatch.setattr(groups, "FEWEST_BYTES", 1)
    images = [photograph(6 + i, 8, i) for i in range(4)]
    for i, one in enumerate(images):
        Image.fromarray(one).save(tmp_path / f"{i}.png")
    data = encode_archive([tmp_path])[0]
    bodies = [group.of(data) for group in container.read_groups(data)]
    bodies[1] = of_other_pixels(bodies[1])
    bodies[3] = bodies[3][:-9] + bytes([bodies[3][-9] ^ 1]) + bodies[3][-8:]
    source = tmp_path / "set.bbk"
    source.write_bytes(container.write_groups([(1, body) for body in bodies]))
    contents = Contents(source, source.read_bytes(), None)
    for _ in range(2):  # as after an allocation that failed
        contents.decode("cpu")
    assert len(contents.damage) == 2
    found = state(contents)
    assert found["done"] and [one["name"][:1] for one in found["pictures"]] == ["0", "2"]
    assert all(np.array_equal(picture(contents, f"{i}.png"), images[2 * i]) for i in range(2))
    assert "group 2 of 4" in found["error"] and "group 4 of 4" in found["error"]

    def end(_):
        raise SystemExit(130)

    monkeypatch.setattr(view.time, "sleep", end)
    result = call("view", source, "--model", tiny_model.path)
    assert result.exit_code == 130 and result.stdout.startswith("http")
    (line,) = error_lines(result)
    assert "set.bbk" in line and "group 2 of 4" in line and "group 4 of 4" in line


def test_damage_is_told_before_anything_is_served(tmp_path, data, other_model):
    """A changed byte, no file, no such model: one line with the name, exit 1, no address."""
    (tmp_path / "a.bbk").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    (tmp_path / "b.bbk").write_text("nothing of ours")
    for name in ("a.bbk", "b.bbk", "c.bbk"):
        result = call("view", tmp_path / name)
        assert result.exit_code == 1 and not result.stdout
        assert len(error_lines(result)) == 1 and name in error_lines(result)[0]
    with pytest.raises(WrongModel):
        Contents(tmp_path / "a.bbk", data, other_model)


def test_no_pixel_is_shown_that_fails_its_check(tmp_path, data, tiny_model):
    """Pixels other than the file's digest tells: none is left on the page, but the error is."""
    wrong = of_other_pixels(data)
    contents = Contents(tmp_path / "a.bbk", wrong, tiny_model)
    with pytest.raises(DamagedFile, match="checksum") as error:
        contents.decode("cpu")
    assert {one["step"] for one in state(contents)["pictures"]} == {"decoding"}
    contents.fail(error.value)
    last = state(contents)
    assert last["pictures"] == [] and last["done"] and "checksum" in last["error"]
    assert contents.files["0.png"] == b"" and "map.png" not in contents.files


def test_the_command(tmp_path, data, pixels, tiny_model, monkeypatch):
    """It prints the address alone, opens it if asked to, and serves until it is ended."""
    (tmp_path / "a.bbk").write_bytes(data)
    opened, seen = [], []
    monkeypatch.setattr(view.webbrowser, "open", opened.append)

    def end(_):
        with urllib.request.urlopen(f"{opened[0]}0.png") as body:
            seen.append(np.array(Image.open(io.BytesIO(body.read()))))
        raise SystemExit(130)

    monkeypatch.setattr(view.time, "sleep", end)
    result = call("view", tmp_path / "a.bbk", "--model", tiny_model.path, "--open")
    assert result.exit_code == 130 and result.stdout.split() == opened and not result.stderr
    assert np.array_equal(seen[0], pixels)
    opened[1:] = [None]
    assert call("view", tmp_path / "a.bbk", "--model", tiny_model.path).exit_code == 130
    assert opened[1:] == [None]


def test_a_used_port_is_one_error(tmp_path):
    (tmp_path / "a.bbk").write_bytes(encode(np.zeros((2, 2, 3), np.uint8)))
    with socket.create_server(("127.0.0.1", 0)) as other:
        result = call("view", tmp_path / "a.bbk", "--port", other.getsockname()[1])
    assert result.exit_code == 1 and "in use" in error_lines(result)[0] and not result.stdout


@pytest.mark.slow
def test_interrupt(tmp_path):
    """Ctrl-C ends the program at once, as it ends others."""
    (tmp_path / "a.bbk").write_bytes(encode(np.zeros((2, 2, 3), np.uint8)))
    process = python("-m", "bitsback", "view", "a.bbk", cwd=tmp_path)
    address = process.stdout.readline().strip()
    assert b"bitsback" in urllib.request.urlopen(address).read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and not out and err.split() == ["bitsback:", "interrupted"]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address)


def page_of(address, folder):
    """The document as headless Chromium has it in the end."""
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
    more = "--disable-component-update --disable-sync --virtual-time-budget=4000 --dump-dom"
    command = [CHROMIUM, *options.split(), *more.split(), f"--user-data-dir={folder}", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_the_page_in_a_browser(serve, tmp_path, archive, data, tiny_model):
    """An image with its map and tables; hostile names are text; an error."""
    contents = Contents(tmp_path / f"{HOSTILE}.bbk", data, tiny_model)
    contents.decode("cpu")
    page = page_of(serve(contents.files).address, tmp_path / "user")
    assert "Decoded and checked" in page and 'src="map.png"' in page and "y_0" in page
    assert re.search(r'<img [^>]*src="0.png\?\d+"', page)
    assert "&lt;img src=x" in page and 'onerror="' not in page and "<title>fallen" not in page
    contents = Contents(tmp_path / "set.bbk", archive[0], None)
    contents.decode("cpu")
    contents.fail(DamagedFile("the rest is damaged"))
    page = page_of(serve(contents.files).address, tmp_path / "user")
    assert page.count("<figure") == 3 and "the rest is damaged" in page
    assert "&lt;img src=x" in page and 'onerror="' not in page and "<title>fallen" not in page
