"""Rules that hold for the source as a whole: layers, imports, lengths, types, a test a module."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bitsback import evaluation
from bitsback.ans import lanes
from bitsback.cli import evaluate
from bitsback.codecs.bitstream import stack_numbers

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 250  # lines of a module
CODECS_MODULES, DECODER_MODULES = 19, 112  # of bitsback: most that are loaded
MODULES = sorted(
    path
    for folder in ("bitsback", "codecs")
    for path in (ROOT / folder).rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)

# Modules without a tests/test_<module>.py, or folders of some, and the tests that exercise them.
TESTED_ELSEWHERE = {
    "codecs/bitstream/stack_numbers.py": "test_container",
    "bitsback/ans/colour_frequencies.py": "test_colour_counts",
    "bitsback/ans/colour_intervals.py": "test_colour_loops",
    "bitsback/ans/gaussian_digit_loops.py": "test_gaussian_digits",
    "bitsback/ans/lanes_numpy.py": "test_lanes_numba",
    "bitsback/ans/colour_tensors.py": "test_device_counts",
    "bitsback/ans/colour_triton.py": "test_device_counts",
    "bitsback/ans/lanes_torch.py": "test_device_lanes",
    "bitsback/ans/lanes_push_triton.py": "test_device_lanes",
    "bitsback/ans/lanes_triton_each.py": "test_device_lanes",
    "bitsback/ans/size_triton.py": "test_device_lanes",
    "bitsback/ans/words_triton.py": "test_device_lanes",
    "bitsback/cli/": "test_cli_main",
    "bitsback/coder/conditional.py": "test_chain",
    "bitsback/coder/distribution_arrays.py": "test_distribution_loops",
    "bitsback/coder/distributions.py": "test_arithmetic",
    "bitsback/coder/model.py": "test_model_named",
    "bitsback/coder/distribution_triton.py": "test_distribution_kernels",
    "bitsback/coder/distribution_triton_pop.py": "test_distribution_kernels",
    "bitsback/coder/free_ranks.py": "test_placed",
    "bitsback/coder/sample_triton.py": "test_placed",
    "bitsback/coder/sample_tensors.py": "test_device_chain",
    "bitsback/coder/sample_arrays.py": "test_sample_loops",
    "bitsback/diffusion/steps.py": "test_levels",
    "bitsback/inputs.py": "test_files",
    "bitsback/integer/digits.py": "test_triton_convolution",
    "bitsback/integer/fixed_point.py": "test_arithmetic",
    "bitsback/integer/installed.py": "test_models_folder",
    "bitsback/integer/int_mm.py": "test_triton_convolution",
    "bitsback/integer/network.py": "test_arithmetic",
    "bitsback/integer/onednn.py": "test_convolution",
    "bitsback/integer/selftest.py": "test_convolution",
    "bitsback/integer/triton_inputs.py": "test_triton_convolution",
    "bitsback/integer/triton_kernels.py": "test_triton_convolution",
    "bitsback/integer/triton_layers.py": "test_triton_convolution",
    "bitsback/integer/worst_cases.py": "test_convolution",
    "bitsback/plugins/array_chunks.py": "test_zarr_plugin",
    "bitsback/plugins/numcodecs.py": "test_numcodecs_plugin",
    "bitsback/plugins/pillow.py": "test_pillow_plugin",
    "bitsback/plugins/zarr.py": "test_zarr_plugin",
    "bitsback/reading.py": "test_data",
    "bitsback/recent.py": "test_data",
    "bitsback/train/bound.py": "test_chain",
    "bitsback/train/checkpoints.py": "test_train_loop",
    "bitsback/train/estimates.py": "test_train_loop",
    "bitsback/train/expert_run.py": "test_recipe",
    "bitsback/train/export.py": "test_levels",
    "bitsback/train/device_loop.py": "test_train_loop",
    "bitsback/train/graph.py": "test_recipe",
    "bitsback/train/kernel_check.py": "test_fused",
    "bitsback/train/loop.py": "test_train_loop",
    "bitsback/train/measure.py": "test_train_loop",
    "bitsback/train/muon.py": "test_train_loop",
    "bitsback/train/patches.py": "test_train_loop",
    "bitsback/train/quantised.py": "test_denoiser",
    "bitsback/train/side_by_side.py": "test_recipe",
    "bitsback/train/trainer.py": "test_train_loop",
    "bitsback/train/training_config.py": "test_plain",
    "bitsback/tune/": "test_tuning",
    "bitsback/whole.py": "test_outputs",
    "codecs/bitstream/chosen.py": "test_groups",
    "codecs/bitstream/bits.py": "test_jxl",
    "codecs/fallback/jxl_head.py": "test_jxl",
    "codecs/bitstream/depths.py": "test_depth",
    "codecs/bitstream/header.py": "test_container",
    "codecs/bitstream/index.py": "test_container",
    "codecs/bitstream/sections.py": "test_container",
    "codecs/bitstream/table.py": "test_groups",
    "codecs/side_information.py": "test_bias_updates",
    "codecs/checksums.py": "test_decoder",
    "codecs/fallback/codec.py": "test_fallback_codec",
    "codecs/fallback/parts.py": "test_segments",
    "codecs/fallback/png.py": "test_mode_decision",
    "codecs/photographs.py": "test_mode_decision",
    "codecs/block_sum_loops.py": "test_block_means",
    "codecs/block_sums.py": "test_block_means",
    "codecs/sharpness.py": "test_colour_counts",
    "codecs/formats/containers.py": "test_losses",
    "codecs/formats/early_formats.py": "test_quirks",
    "codecs/formats/lost_parts.py": "test_losses",
    "codecs/formats/av1_headers.py": "test_avif",
    "codecs/formats/ends.py": "test_losses",
    "codecs/formats/entry_codecs.py": "test_metadata",
    "codecs/formats/opening.py": "test_image_files",
    "codecs/formats/output_formats.py": "test_restored",
    "codecs/formats/pillow_images.py": "test_image_files",
    "codecs/formats/views.py": "test_metadata",
    "codecs/io/archive_files.py": "test_archive",
    "codecs/io/delivery.py": "test_outputs",
    "codecs/io/facts.py": "test_files",
    "codecs/io/packed.py": "test_files",
    "codecs/io/paths.py": "test_files",
    "codecs/map_ledger.py": "test_bit_map",
    "codecs/prior_codec.py": "test_round_trip",
    "codecs/remainders/": "test_remainders",
    "codecs/segment_layout.py": "test_segments",
    "codecs/formats/looks.py": "test_metadata",
    "codecs/damage.py": "test_salvage",
    "codecs/io/collected.py": "test_archive",
}


def relative(path):
    return path.relative_to(ROOT).as_posix()


def run(*arguments, cwd=ROOT):
    """Runs this Python with `cwd` first on its path; returns what it wrote, and its exit status."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True
    )
    return done.stdout + done.stderr, done.returncode


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the source with codecs/ inside bitsback/, as in a wheel: what static tools find."""
    folder = tmp_path_factory.mktemp("tree")
    only_source = shutil.ignore_patterns("models", "checkpoints", "results", "__pycache__")
    for source, target in (
        ("bitsback", "bitsback"),
        ("codecs", "bitsback/codecs"),
        ("benchmarks", "benchmarks"),
    ):
        shutil.copytree(ROOT / source, folder / target, ignore=only_source)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_dependencies_go_one_way(tree):
    """The contracts of pyproject.toml, [tool.importlinter]."""
    pytest.importorskip("importlinter", reason="import-linter is not installed")
    code = "from importlinter.cli import lint_imports_command as command; command()"
    output, status = run("-c", code, "--no-cache", cwd=tree)
    assert status == 0 and "0 broken" in output, output


def loaded(code):
    """Names of all modules in a process that ran `code`."""
    output, status = run("-c", f"{code}\nimport sys\nprint('loaded:', *sys.modules)")
    assert status == 0, output
    return output.split("loaded: ")[1].split()


def ours(names):
    return sorted(name for name in names if name.split(".")[0] == "bitsback")


def test_importing_codecs_loads_little():
    """Neither torch nor numba nor more of bitsback than headers and images in memory need."""
    names = loaded("import bitsback.codecs")
    assert not {"torch", "numba", "PIL"} & set(names)
    assert len(ours(names)) <= CODECS_MODULES, ours(names)


def test_decoding_loads_nothing_of_training():
    """A file under the prior decodes without training, tuning, sampling and the command line."""
    file = ROOT / "tests" / "golden" / "v1.0" / "noise_56x64.bbk"
    names = ours(
        loaded(
            "from pathlib import Path; from bitsback.codecs import decode\n"
            f"assert decode(Path({str(file)!r}).read_bytes()).shape == (64, 56, 3)"
        )
    )
    assert "bitsback.codecs.prior_codec" in names and "bitsback.integer.network" in names
    assert not [
        name
        for name in names
        if name.split(".")[1:2]
        and name.split(".")[1] in ("train", "tune", "sampling", "cli", "plugins")
    ]
    assert len(names) <= DECODER_MODULES, names


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(arguments):
    """Rules and layout of pyproject.toml, [tool.ruff], in the whole tree."""
    pytest.importorskip("ruff", reason="ruff is not installed")
    output, status = run(
        "-m",
        "ruff",
        *arguments,
        "--no-cache",
        *(["--output-format=concise"] if arguments == ["check"] else []),
        ".",
    )
    assert status == 0, output


@pytest.mark.slow
def test_mypy(tree):
    """The whole package under the settings of pyproject.toml, [tool.mypy]."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    output, status = run("-m", "mypy", "--cache-dir", tree / "cache", "-p", "bitsback", cwd=tree)
    assert status == 0, output


def test_modules_are_short():
    lines = {relative(path): path.read_text("utf-8").count("\n") for path in MODULES}
    assert {path: count for path, count in lines.items() if count > LONGEST} == {}


def is_kernel(function):
    """Whether it is a Triton kernel: its launch gives the types, annotations have other uses."""
    return any(
        ast.unparse(decorator).split("(")[0] == "triton.jit"
        for decorator in function.decorator_list
    )


def public_functions(body):
    """Functions and methods of a module or class body whose names do not begin with _."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            if not is_kernel(node):
                yield node


def untyped(function):
    """Whether a parameter other than self or cls, or the returned value, has no annotation."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    extra = [one for one in (arguments.vararg, arguments.kwarg) if one]
    return function.returns is None or any(
        one.annotation is None for one in [*named, *extra] if one.arg not in ("self", "cls")
    )


def test_public_functions_have_types():
    missing = [
        f"{relative(path)}:{function.lineno} {function.name}"
        for path in MODULES
        for function in public_functions(ast.parse(path.read_text("utf-8")).body)
        if untyped(function)
    ]
    assert missing == []


def test_every_module_has_its_tests():
    """tests/test_<module>.py, or an entry in TESTED_ELSEWHERE, of which none is out of date."""
    tests = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    without = [relative(path) for path in MODULES if f"test_{path.stem}" not in tests]
    assert [path for path in without if not any(map(path.startswith, TESTED_ELSEWHERE))] == []
    used = [entry for entry in TESTED_ELSEWHERE if any(path.startswith(entry) for path in without)]
    assert used == list(TESTED_ELSEWHERE) and set(TESTED_ELSEWHERE.values()) <= tests


def test_facts_that_are_kept_twice():
    """The command line and `info` start without torch, and so without the modules that use it."""
    assert stack_numbers.MAX_LANES == lanes.MAX_LANES
    assert evaluate.MEASURES == evaluation.MEASURES
