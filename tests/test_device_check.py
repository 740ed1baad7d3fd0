"""The check of a device needs few packages, and goes on after a step that fails."""

import json
import subprocess
import sys

from benchmarks import device_check

WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("numba", "constriction", "imagecodecs", "scipy"):
            raise ImportError(name)

sys.meta_path.insert(0, Without())
from benchmarks import device_check
from bitsback.codecs import decoder, prior_codec
from bitsback.coder.model import Model
chain = Model.open("fast").chain()
print(chain.network.backend.name)
device_check.one("kernels", "cpu")
"""


def test_neither_numba_nor_constriction_is_needed():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "lanes" in json.loads(done.stdout.splitlines()[-1])["kernels"]


def test_a_step_that_fails_does_not_end_the_check(tmp_path, monkeypatch, capsys):
    """No such image; then a step that is no module; then one that runs out of time."""
    steps = "code:fast:64,module:benchmarks.nothing_of_the_kind,kernels"
    arguments = ["device_check", str(tmp_path / "none.png"), "-o", str(tmp_path / "out")]
    arguments += ["--device", "cpu", "--seconds", "60", "--steps", steps]
    monkeypatch.setattr(sys, "argv", arguments)
    device_check.main()
    report = (tmp_path / "out" / "device_check.txt").read_text("utf-8")
    assert "FileNotFoundError" in report and "No module named" in report
    assert '"lanes"' in report.splitlines()[-2]
    assert device_check._run(["sleep", "9"], {}, 0.1)[1] == "stopped at its time limit"
