"""The documents and results: links, model ids, commands, file map, and what README may say."""

import ast
import functools
import importlib
import itertools
import json
import re
from pathlib import Path

import click
import pytest

from bitsback import __version__
from bitsback.cli.main import main
from bitsback.integer.installed import shipped_models
from bitsback.integer.model_file import read_model

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bitsback", "codecs", "benchmarks", "tests")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
)
RESULTS = sorted(
    path for path in (ROOT / "benchmarks/results").iterdir() if path.suffix in (".md", ".json")
)
WRITTEN = [path for path in DOCUMENTS if path not in RESULTS]
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
MODEL_ID = re.compile(r"(?<![\w.])(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{16,64}(?!\w)")
INSTALL = "    pip install torch==2.13.0 && pip install "
NO_MODEL = ("model none", "no model", "no shipped model")
PLACEHOLDERS = ("tests/golden/vN",)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def shipped_ids() -> set[str]:
    return {read_model(path)[2] for path in shipped_models().values()}


def is_shipped(model_id: str) -> bool:
    return any(known.startswith(model_id) for known in shipped_ids())


def headings(path: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_links_lead_to_files(path):
    for _, target in LINK.findall(path.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists() and found.is_relative_to(ROOT), target
        assert not anchor or anchor in headings(found), target


@pytest.mark.parametrize("path", WRITTEN, ids=relative)
def test_named_files_exist(path):
    """`codecs/image.py` and the like: all paths in code spans that begin with a folder of ours."""
    for name in re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", path.read_text("utf-8")):
        assert (ROOT / name).exists() or name in PLACEHOLDERS, name


def test_functions_are_where_the_documents_say():
    """`Class.method` or `function` before a link to a module: that module defines it."""
    span = r"`([A-Za-z_]\w*(?:\.\w+)?)`"
    found = 0
    for path in WRITTEN:
        text = path.read_text("utf-8")
        for names, target in re.findall(
            rf"((?:{span},? )+)\(\[\w+\.py\]\(([^)]+)\)\)".replace(
                span, span.replace("(", "(?:", 1), 1
            ),
            text,
        ):
            tree = ast.parse((path.parent / target).read_text("utf-8"))
            defined = {
                name
                for node in tree.body
                if isinstance(node, ast.FunctionDef | ast.ClassDef)
                for name in [
                    node.name,
                    *(
                        f"{node.name}.{part.name}"
                        for part in getattr(node, "body", [])
                        if isinstance(part, ast.FunctionDef)
                    ),
                ]
            }
            for name in re.findall(span, names):
                assert name in defined, f"{relative(path)}: {name} in {target}"
                found += 1
    assert found > 30


def test_imports_in_documents_work():
    """What Python examples import exists."""
    found = 0
    for path in WRITTEN:
        for block in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            for node in ast.parse(block).body:
                if isinstance(node, ast.ImportFrom):
                    module = importlib.import_module(node.module)
                    assert all(hasattr(module, alias.name) for alias in node.names), block
                    found += 1
    assert found >= 3


def test_results_named_in_the_source_exist():
    for path in modules():
        for name in re.findall(r"benchmarks/results/[\w.]+", (ROOT / path).read_text("utf-8")):
            assert (ROOT / name).exists(), f"{path}: {name}"


def test_readme_is_short():
    """At most 120 lines of 100 columns, but for the two install commands."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= 120
    long = [line for line in lines if len(line) > 100]
    assert all(line.startswith(INSTALL) for line in long), long
    assert sum(line.startswith(INSTALL) for line in lines) == 2


def test_the_changelog_tells_of_this_release():
    """Its section is there, the newest first."""
    text = (ROOT / "bitsback/CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## ([0-9.]+)( - [0-9]{4}-[0-9]{2}-[0-9]{2})?$", text, re.MULTILINE)
    numbers = [tuple(map(int, version.split("."))) for version, _ in versions]
    assert __version__ in [version for version, _ in versions]
    assert numbers == sorted(set(numbers), reverse=True)


@pytest.mark.parametrize("path", [*WRITTEN, *RESULTS], ids=relative)
def test_models_named_are_shipped(path):
    if path.suffix == ".md":
        for model_id in MODEL_ID.findall(path.read_text("utf-8")):
            assert is_shipped(model_id), model_id


def checkpoint_of(line: str) -> bool:
    """Whether a line names a float checkpoint that is in the tree."""
    names = re.findall(r"[\w.]+\.ckpt", line)
    return bool(names) and all((ROOT / "benchmarks/checkpoints" / name).exists() for name in names)


@pytest.mark.parametrize("path", RESULTS, ids=relative)
def test_results_name_command_and_model(path):
    """A shipped model's id, a checkpoint of benchmarks/checkpoints, or that no model matters."""
    text = path.read_text("utf-8")
    if path.suffix == ".json":
        result = json.loads(text)
        command, model = result["command"], result.get("model", "")
        named = model is None or (is_shipped(model[:16]) if model else checkpoint_of(command))
    else:
        command = text.split("\n")[0]
        named = (
            bool(MODEL_ID.findall(text))
            or checkpoint_of(command)
            or any(words in command for words in NO_MODEL)
        )
    assert re.match(r"python -m benchmarks\.\w+ ", command) and named, command
    missing = missing_options(command.partition("   (")[0])
    assert not missing, missing


def test_rates_in_readme_are_those_measured():
    """The table of README against the JSON of the runs, bits/dim of whole sets."""
    sets = ("kodak", "valid", "full_size")
    rows = {
        cells[0].strip("* "): [cell.strip("* ") for cell in cells[1:4]]
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if len(cells := line.strip("| ").split(" | ")) == 7
    }
    checked = 0
    for (i, name), effort in itertools.product(enumerate(sets), ("", "_fast", "_best")):
        name = f"rate_{name}{effort}"
        result = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text("utf-8"))
        dims = sum(row["dims"] for row in result["rows"])
        for label, cells in rows.items():
            codec = "bitsback" if label.endswith(result["model"][:16]) else label
            if codec in result["rows"][0]:
                total = sum(row[codec]["bytes"] for row in result["rows"])
                assert cells[i] == f"{8 * total / dims:.3f}", (name, label)
                checked += 1
    assert checked == 45  # three models and the four other codecs beside each, on three sets


def code_lines(text: str) -> list[str]:
    """Lines of indented code blocks, and code spans."""
    blocks = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    return blocks + re.findall(r"`([^`\n]+)`", text)


def missing_options(line: str) -> list[str]:
    """What a command line names that does not exist: a benchmark, a bitsback command, options."""
    missing = []
    for part in re.split(r" && |; |  +| #", line):
        if found := re.match(r"python -m (benchmarks|tests)\.([\w.]+)", part):
            path = ROOT / found[1] / f"{found[2].replace('.', '/')}.py"
            if path.with_suffix("").is_dir():
                path = path.with_suffix("") / "__main__.py"
            if not path.is_file():
                missing.append(part)
                continue
            options = set(re.findall(r"\"(--?[a-z][\w-]*)\"", path.read_text("utf-8")))
        elif found := re.match(r"bitsback ([a-z]\w*)", part):
            if found[1] not in main.commands:
                missing.append(part)
                continue
            command, options = main.commands[found[1]], {"-h", "--help"}
            if isinstance(command, click.Group) and (
                sub := re.match(r" ([a-z]\w*)", part[found.end() :])
            ):
                if sub[1] not in command.commands:
                    missing.append(part)
                    continue
                command = command.commands[sub[1]]
            for option in command.params:
                options |= {*option.opts, *option.secondary_opts}
        else:
            continue
        named = re.findall(r"(?<![\w'-])(--?[a-z][\w-]*)", part[found.end() :])
        missing += [f"{part}: {name}" for name in named if name not in options]
    return missing


@pytest.mark.parametrize("path", WRITTEN, ids=relative)
def test_commands_exist(path):
    for line in code_lines(path.read_text("utf-8")):
        assert not missing_options(line), missing_options(line)


def test_what_does_not_exist_is_found():
    """The checks above can fail."""
    assert missing_options("python -m benchmarks.nothing DIR")
    assert missing_options("python -m benchmarks.rate DIR --nothing")
    assert missing_options("bitsback compress a.png --nothing 3")
    assert missing_options("pip install . && bitsback nothing")
    assert missing_options("bitsback models nothing") and missing_options("bitsback models -f")
    assert not missing_options("bitsback models add -f FILE; bitsback models --json")
    assert not missing_options("bitsback compress a.png -o b.bbk && bitsback test b.bbk   decodes")
    assert MODEL_ID.findall("model fe551baa9f9264b8,") and not is_shipped("fe551baa9f9264b8")
    assert LINK.findall("see [this](a/b.md#c)") == [("this", "a/b.md#c")]


def modules() -> set[str]:
    """Paths of all modules of the package, without empty __init__.py files."""
    return {
        relative(path)
        for folder in ("bitsback", "codecs")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }


def test_file_map_is_complete():
    text = (ROOT / "bitsback/DESIGN.md").read_text("utf-8").split("## File map")[1]
    listed = re.findall(r"^\| `([\w/.]+\.py)` \| \S", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert modules() - set(listed) == set(), "add these to the file map"
    assert set(listed) - modules() == set(), "these are in the file map but not in the tree"
