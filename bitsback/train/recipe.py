"""Recipes: TOML files that say how the experts of a model are trained, all at once.

    name = "default"                  # of the model
    start = "default.weights"         # where experts begin: .weights, .ckpt or .safetensors
    data_name = "photographs: ..."    # for `bitsback models`
    minutes = 8.5
    [training]                        # fields of TrainingConfig: batch, patch, lr_scale, ema ...
    [augment]                         # fields of mixture.Augment, [augment.odds] of wild.Odds
    [[source]]                        # fields of mixture.Source; folder is below --data
    [[expert]]                        # fields of Expert

Paths are relative to the recipe.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bitsback.errors import TrainingError
from bitsback.integer.config import NetworkConfig
from bitsback.train.mixture import Augment, Source
from bitsback.train.packed_weights import SUFFIX, first_line
from bitsback.train.training_config import TrainingConfig
from bitsback.train.wild import Odds

MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Expert:
    """One expert of a recipe.

    levels: the first and the last level; network: c1, n1, c2, n2, c3, n3; share: of the time that
    it might keep the device busy, 0 to 1, 0: it is not trained but the start's; family: as in
    `export`; batch, patch: its own, where they are not the recipe's; of: the name of another recipe
    whose expert for these levels is taken, which is not trained here.
    """

    levels: tuple[int, int]
    network: tuple[int, int, int, int, int, int] = (64, 3, 96, 3, 128, 3)
    head: int = 48
    passes: int = 4
    family: int = 0
    share: float = 1.0
    batch: int | None = None
    patch: int | None = None
    of: str | None = None

    @property
    def name(self) -> str:
        """The name of its files: the levels."""
        first, last = self.levels
        return f"level_{first}" if first == last else f"levels_{first}_{last}"

    @property
    def only(self) -> range:
        """Its levels."""
        return range(self.levels[0], self.levels[1] + 1)

    @property
    def config(self) -> NetworkConfig:
        """The sizes of its network."""
        return NetworkConfig(*self.network, head=self.head, passes=self.passes)


@dataclass(frozen=True)
class Recipe:
    """A recipe; training: without `only` and `minutes`, which the experts and `minutes` set."""

    name: str
    minutes: float
    sources: tuple[Source, ...]
    experts: tuple[Expert, ...]
    start: Path | None = None
    data_name: str = "not said"
    training: dict[str, Any] = field(default_factory=dict)
    augment: Augment = Augment()

    def config(self, expert: Expert, bfloat16: bool) -> TrainingConfig:
        """What the trainer of an expert does."""
        fixed = {"integer": True, "at_levels": True, "only": expert.only, "bfloat16": bfloat16}
        for key in ("batch", "patch"):
            if getattr(expert, key) is not None:
                fixed[key] = getattr(expert, key)
        seed = self.training.get("seed", 1) + expert.levels[0]
        return TrainingConfig(**self.training | fixed | {"minutes": self.minutes, "seed": seed})

    @property
    def patch(self) -> int:
        """The largest side of patches, pixels; images smaller than that are left out."""
        return TrainingConfig(**self.training).patch

    @property
    def trained(self) -> tuple[Expert, ...]:
        """The experts that this recipe trains."""
        return tuple(expert for expert in self.experts if expert.of is None and expert.share > 0)


def file_of(recipe: Recipe, expert: Expert, folder: Path) -> Path:
    """The weights of an expert that were trained, see weights_of."""
    return (folder.parent / expert.of if expert.of else folder) / f"{expert.name}{SUFFIX}"


def weights_of(recipe: Recipe, folder: Path, left: Collection[Expert] = ()) -> list[Path]:
    """The files of a model's experts: in `folder`, the output of `train` with the recipe, or in the
    folder beside it that has the name of an expert's other recipe; then the recipe's start, where
    it lends experts: those of share 0, and `left`.

    Errors: TrainingError where one is missing.
    """
    paths = [
        file_of(recipe, expert, folder)
        for expert in recipe.experts
        if expert not in left and (expert.of or expert.share > 0)
    ]
    if len(paths) < len(recipe.experts):
        if recipe.start is None or recipe.start.suffix != MODEL_SUFFIX:
            raise TrainingError("experts that stay as they are need a start that is a model file")
        paths.append(recipe.start)
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise TrainingError(f"no such file: {', '.join(missing)}")
    return paths


def _only_fields(table: dict[str, Any], of: type) -> dict[str, Any]:
    known = {one.name for one in fields(of)}
    unknown = ", ".join(sorted(set(table) - known))
    if unknown:
        raise TrainingError(f"unknown: {unknown}")
    return {key: tuple(v) if isinstance(v, list) else v for key, v in table.items()}


def read_table(path: str | Path) -> dict[str, Any]:
    """What a TOML file says.  Errors: TrainingError."""
    try:
        import tomllib  # from Python 3.11 on
    except ImportError:
        raise TrainingError(f"{path}: recipes need Python 3.11") from None
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: not a recipe ({first_line(error)})") from None


def sources_of(table: dict[str, Any], data: str | Path) -> tuple[Source, ...]:
    """The sources that a recipe names; data: the folder that they are below.  Errors: KeyError,
    TypeError, TrainingError."""
    given = table.get("source", [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise TypeError("sources are tables")
    told = [_only_fields(one, Source) for one in given]
    if not all(type(one.get("hold_out", 0)) is int for one in told):
        raise TypeError("hold_out is a whole number")
    return tuple(Source(**one | {"folder": Path(data) / one["folder"]}) for one in told)


def read_recipe(path: str | Path, data: str | Path) -> Recipe:
    """The recipe in a file; data: the folder that its sources are below.  Errors: TrainingError."""
    table = read_table(path)
    try:
        sources = sources_of(table, data)
        experts = [_only_fields(one, Expert) for one in table.pop("expert")]
        training = _only_fields(table.pop("training", {}), TrainingConfig)
        start = table.pop("start", None)
        augment = table.pop("augment", {})
        if "odds" in augment:
            augment |= {"odds": Odds(**_only_fields(augment["odds"], Odds))}
        del table["source"]
        recipe = Recipe(
            **_only_fields(table, Recipe),
            sources=sources,
            experts=tuple(Expert(**one) for one in experts),
            start=Path(path).parent / start if start else None,
            training=training,
            augment=Augment(**_only_fields(augment, Augment)),
        )
        for expert in recipe.trained:
            expert.config  # must be a network
            if recipe.config(expert, False).patch > recipe.patch:
                raise TrainingError(f"{expert.name}: patches larger than the recipe's")
        return recipe
    except (KeyError, TypeError, ValueError, TrainingError) as error:
        raise TrainingError(f"{path}: not a recipe ({first_line(error)})") from None
