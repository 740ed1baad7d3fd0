"""experts.py: networks that share the levels, from checkpoints to files."""

import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file

from bitsback.cli.main import main
from bitsback.codecs import decode, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header, pixel_digest
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.segment_layout import turned
from bitsback.coder.model import Model
from bitsback.diffusion.levels import default_levels, sigmas
from bitsback.errors import TrainingError, WrongModel
from bitsback.integer import bias_updates
from bitsback.integer.config import EXACT, INNOVATION_REACH, NetworkConfig
from bitsback.integer.convolution import TOP
from bitsback.integer.model_file import write_model
from bitsback.integer.overflow import largest_sum
from bitsback.integer.worst_cases import integer_convolution
from bitsback.sampling.chain_sampler import sample_chain
from bitsback.sampling.denoisers import model_denoiser
from bitsback.sampling.preview import preview
from bitsback.train.checkpoints import read_checkpoints
from bitsback.train.dequantise import dequantised, dequantised_model
from bitsback.train.estimates import estimate_at_levels
from bitsback.train.experts import Experts
from bitsback.train.export import make_layer, save_model, without_excess
from bitsback.train.loop import train
from bitsback.train.measure import bound_bits
from bitsback.train.training_config import TrainingConfig
from bitsback.tune import tuning
from tests import numpy_decoder as yardstick
from tests.conftest import TINY, random_network
from tests.side_information import grids

LEVELS = default_levels()
NOISE = sigmas(LEVELS)
FINE, COARSE = range(5), range(5, len(LEVELS))


@pytest.fixture(scope="module")
def networks():
    return random_network(7), random_network(8)


@pytest.fixture(scope="module")
def x(photograph):
    return (
        torch.from_numpy(np.stack([photograph(32, 40, seed) for seed in range(2)]))
        .permute(0, 3, 1, 2)
        .float()
        - 128
    )


def test_each_level_costs_what_its_expert_says(networks, x):
    parts = bound_bits(Experts(networks, [FINE, COARSE], NOISE), LEVELS, x, True)
    fine, coarse = (bound_bits(network, LEVELS, x, True) for network in networks)
    assert parts == fine[:5] + coarse[5:] and parts != fine


@pytest.mark.parametrize(
    "shares",
    [
        [range(4), COARSE],
        [range(6), COARSE],
        [COARSE, FINE],
        [FINE, range(5, len(LEVELS) - 1)],
        [FINE],
    ],
    ids=str,
)
def test_all_levels_once_in_order(networks, shares):
    with pytest.raises(TrainingError, match=f"levels 0 to {len(LEVELS) - 1}, once, in order"):
        Experts(networks[: len(shares)], shares, NOISE)


def test_a_batch_asks_one_expert(networks, x):
    experts = Experts(networks, [FINE, COARSE], NOISE)
    with pytest.raises(ValueError, match="several experts"):
        experts.trunk(x, torch.tensor([NOISE[4], NOISE[5]]).log())
    assert (
        experts.of(torch.tensor([NOISE[0], NOISE[4]]).log()) is networks[0]
        and experts.of(torch.tensor([400.0]).log()) is networks[1]
    )


def test_the_float_twin_of_a_model(expert_model, x):
    """All levels of both: the bound of the rounded networks, and of each by itself."""
    got = bound_bits(dequantised_model(expert_model), LEVELS, x, True)
    for expert in expert_model.experts:
        noise = NOISE[expert.steps.start : expert.steps.stop]
        alone = bound_bits(dequantised(expert.layers, expert.config, noise), LEVELS, x, True)
        assert [got[k] for k in expert.steps] == [alone[k] for k in expert.steps]


def test_a_file_there_and_back(expert_model, prior_file, photograph):
    pixels = photograph(80, 72)
    data = prior_file(pixels, expert_model)
    assert np.array_equal(decode(data, model=expert_model), pixels)
    shown = preview(data, model=expert_model)
    assert shown.known.any() and np.abs(shown.pixels[shown.known].astype(int)).max() <= 255


def test_tuning_moves_each(expert_model, photograph, monkeypatch):
    """Bias updates of both experts lower the bound of both's levels; noisy families get none."""
    pixels = photograph(256, 264)
    monkeypatch.setattr(tuning, "update_bits", lambda *_: 0)
    updates, layers = (
        tuning.tune(expert_model, [pixels], 49),
        [expert.layers for expert in expert_model.experts],
    )
    first, second = bias_updates.by_expert(updates, expert_model.experts)
    assert (
        len(first) == bias_updates.count(layers[0])
        and len(second) == bias_updates.count(layers[1])
        and first.any()
        and second.any()
    )
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 128
    before, after = (
        bound_bits(dequantised_model(expert_model, moved), LEVELS, x, True)
        for moved in (None, updates)
    )
    assert sum(after[:5]) < sum(before[:5]) and sum(after[5:]) < sum(before[5:])
    monkeypatch.setattr(tuning, "MAX_FIRST_SIGMA", 8.0)
    assert not bias_updates.by_expert(
        tuning.tune(expert_model, [pixels], 29), expert_model.experts
    )[1].any()


def test_a_file_tuned_by_expert(expert_model, photograph, monkeypatch):
    """Bias updates of the second only; the file decodes, by the document too."""
    pixels, layers = photograph(56, 64), [expert.layers for expert in expert_model.experts]
    updates = np.concatenate(
        [
            np.zeros(bias_updates.count(layers[0]), np.int32),
            np.random.default_rng(1).integers(-3, 4, bias_updates.count(layers[1]), np.int32),
        ]
    )
    monkeypatch.setattr(prior_codec, "tune", lambda *_, **__: updates)
    header, payload = prior_codec.encode_stack(
        [pixels], Header((Entry(64, 56),), pixel_digest([pixels])), expert_model, tuning=1
    )
    assert np.array_equal(decode(container.write(header, payload), model=expert_model), pixels)
    numbers, lanes = yardstick.Model(expert_model.path.read_bytes()), yardstick.Lanes(payload)
    theirs = yardstick.pop_deltas(numbers, yardstick.Stack(header.section(Tag.BIAS_UPDATES)))
    assert {name[:2] for name in theirs} == {"1."} and np.array_equal(
        np.concatenate([theirs[name] for name in sorted(theirs)]),
        updates[-bias_updates.count(layers[1]) :],
    )
    yardstick.tune(numbers, theirs)
    means = grids(header.section(Tag.BLOCK_MEANS), header.sizes)
    (got,) = yardstick.decode(
        numbers,
        lanes,
        header.sizes,
        header.start,
        header.segments,
        header.top,
        sharpness=header.sharpness,
        means=means,
    )
    rows, columns = header.start[1:]
    expected = turned(pixels, header.flips)
    assert np.array_equal(got[rows:], expected[rows:]) and np.array_equal(
        got[:, columns:], expected[:, columns:]
    )


@pytest.fixture(scope="module")
def family_model(tmp_path_factory):
    """Three networks, the last two of one family: one grew a little away from the other."""
    parent, child = random_network(8), random_network(8)
    with torch.no_grad():
        for parameter in child.parameters():
            parameter.add_(
                0.003 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            )
    path = tmp_path_factory.mktemp("family") / "m.safetensors"
    save_model(
        path,
        Experts(
            [random_network(7), parent, child],
            [range(3), range(3, 6), range(6, len(LEVELS))],
            NOISE,
            [0, 1, 1],
        ),
        LEVELS,
        {},
    )
    return Model(path)


@pytest.mark.slow
def test_a_family_is_tuned_together(family_model, photograph, monkeypatch):
    """One set of updates moves both networks of a family, and the bound of all levels falls."""
    pixels = photograph(256, 264)
    monkeypatch.setattr(tuning, "update_bits", lambda *_: 0)
    updates = tuning.tune(family_model, [pixels], 61)
    assert (
        len(updates)
        == family_model.update_codec.size
        == 2 * bias_updates.count(family_model.layers)
    )
    first, second, third = bias_updates.by_expert(updates, family_model.experts)
    assert np.array_equal(second, third) and second.any() and not np.array_equal(first, second)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 128
    before, after = (
        bound_bits(dequantised_model(family_model, moved), LEVELS, x, True)
        for moved in (None, updates)
    )
    assert all(
        sum(after[part]) < sum(before[part]) for part in (slice(3), slice(3, 6), slice(6, None))
    )


def test_a_file_tuned_by_family(family_model, photograph, monkeypatch):
    """Each expert has its family's biases, by the document too."""
    pixels, size = photograph(56, 64), bias_updates.count(family_model.layers)
    updates = np.random.default_rng(1).integers(-3, 4, 2 * size, np.int32)
    monkeypatch.setattr(prior_codec, "tune", lambda *_, **__: updates)
    header, payload = prior_codec.encode_stack(
        [pixels], Header((Entry(64, 56),), pixel_digest([pixels])), family_model, tuning=1
    )
    assert np.array_equal(decode(container.write(header, payload), model=family_model), pixels)
    numbers = yardstick.Model(family_model.path.read_bytes())
    theirs = yardstick.pop_deltas(numbers, yardstick.Stack(header.section(Tag.BIAS_UPDATES)))
    assert {name[:2] for name in theirs} == {"0.", "1.", "2."} and all(
        np.array_equal(part, theirs["2" + name[1:]])
        for name, part in theirs.items()
        if name[0] == "1"
    )
    yardstick.tune(numbers, theirs)
    chain = family_model.tuned_chain(updates)
    for i, (_, network) in enumerate(chain.network.networks):
        assert all(
            np.array_equal(layer.bias.numpy(), numbers.tensors[f"{i}.{name}.bias"])
            for name, layer in network.backend.layers.items()
        )


@pytest.mark.parametrize(
    "families", [[1, 1, 1], [0, 2, 2], [0, 1, 0], [0, 0, 0], [0, 1], []], ids=str
)
def test_families_that_do_not_fit(families, family_model, tmp_path):
    """Numbers must rise from 0 in steps of 1, one for each expert, of the same sizes in a family.

    Checked when experts are combined, and when a file is read.
    """
    other = random_network(9, NetworkConfig(16, 1, 24, 2, 16, 1, embedding=16, head=24))
    with pytest.raises(TrainingError, match="families"):
        Experts(
            [other, random_network(7), random_network(8)],
            [range(3), range(3, 6), range(6, len(LEVELS))],
            NOISE,
            families,
        )
    if len(families) == 3 and families != [0, 0, 0]:
        facts = family_model.description | {
            "experts": [
                one | {"family": number}
                for one, number in zip(family_model.description["experts"], families)
            ]
        }
        write_model(tmp_path / "m.safetensors", load_file(family_model.path), facts)
        with pytest.raises(WrongModel, match="families do not fit"):
            Model(tmp_path / "m.safetensors")


def test_samples_of_all_levels(expert_model):
    values = sample_chain(expert_model.chain(), (1, 3, 16, 16), torch.Generator().manual_seed(1))
    assert len(values) == len(LEVELS) + 1
    noisy = [300 * 0.9, 20.0, 4.0, 0.6]  # between levels, of both experts
    denoise = model_denoiser(expert_model, [*noisy, 0.0])
    for sigma in noisy:
        xhat, v = denoise(
            sigma * torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(2)), sigma
        )
        assert torch.isfinite(xhat).all() and (v > 0).all()


@pytest.mark.slow
def test_estimates_of_shares_add_up(networks, x):
    """The mean over many draws of the two shares is that of the whole bound."""
    generator, network, means = torch.Generator().manual_seed(3), networks[0], {}
    some = x[:, :, :16, :16].repeat(8, 1, 1, 1)
    with torch.no_grad():
        for name, only in (("all", None), ("fine", FINE), ("coarse", COARSE)):
            draws = [
                sum(
                    float(part.mean())
                    for part in estimate_at_levels(
                        network, None, some, generator, True, False, levels=LEVELS, only=only
                    )[:3]
                )
                for _ in range(60)
            ]
            means[name] = np.mean(draws), np.std(draws) / math.sqrt(60)
    apart = means["fine"][0] + means["coarse"][0] - means["all"][0]
    assert (
        abs(apart) < 4 * math.hypot(*(error for _, error in means.values())) < 0.2 * means["all"][0]
    )
    assert min(mean for mean, _ in means.values()) > 0.1


def test_trained_apart_and_exported_together(tmp_path, photograph):
    Image.fromarray(photograph(40, 56, 1)).save(tmp_path / "a.png")
    paths = [tmp_path / "fine.safetensors", tmp_path / "coarse.safetensors"]
    for path, only in zip(paths, (FINE, COARSE)):
        last = train(
            tmp_path,
            path,
            network=TINY,
            config=TrainingConfig(
                minutes=0.01, batch=8, patch=16, at_levels=True, integer=True, only=only
            ),
            log_every=1,
        )
        assert (
            not path.exists()
            and (last["pixel"] > 0) == (0 in only)
            and (last["top"] > 0) == (len(LEVELS) - 1 in only)
            and last["level"] > 0
        )
    checkpoints = [f"{path}.ckpt" for path in paths]
    network, facts = read_checkpoints(checkpoints)
    assert (
        network.shares == [FINE, COARSE]
        and facts["steps"]
        == sum(read_checkpoints([p, q])[1]["steps"] for p, q in [checkpoints])
        > 1
    )
    save_model(tmp_path / "m.safetensors", network, LEVELS, facts)
    model = Model(tmp_path / "m.safetensors")
    assert [expert.steps for expert in model.experts] == [FINE, COARSE] and [
        expert.family for expert in model.experts
    ] == [0, 1]
    run = ["export", *map(str, checkpoints), "-o", str(tmp_path / "n.safetensors"), "--families"]
    assert CliRunner().invoke(main, [*run, "0,0"]).exit_code == 0 and [
        expert.family for expert in Model(tmp_path / "n.safetensors").experts
    ] == [0, 0]
    for wrong, status in (("0,2", 1), ("0", 1), ("0;1", 2)):
        assert CliRunner().invoke(main, [*run, wrong]).exit_code == status
    for alone in (checkpoints[:1], checkpoints[::-1]):
        with pytest.raises(TrainingError, match="once, in order"):
            read_checkpoints(alone)


def test_a_model_file_with_a_level_missing(tmp_path, expert_model):
    facts = expert_model.description | {"experts": [expert_model.description["experts"][0]]}
    write_model(tmp_path / "m.safetensors", load_file(expert_model.path), facts)
    with pytest.raises(WrongModel, match="do not share all levels"):
        Model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("reach", [0, INNOVATION_REACH])
def test_a_bias_beside_tiny_weights(reach):
    """A bias beside tiny weights still fits, to a 2^-20th: the weights get coarser units."""
    bias = torch.tensor([[300.0, -0.001], [-20.0, 5.0]])
    layer = make_layer(torch.full((2, 12, 3, 3), 1e-9), bias, reach=reach, factor=4)
    assert largest_sum(layer, INNOVATION_REACH).max() < EXACT
    assert torch.allclose(
        layer.bias * torch.exp2(-layer.shift.double()), 4 * bias.double(), atol=4 * 300 * 2**-20
    )


def test_a_dead_channels_bias_is_cut_to_what_matters():
    """Biases far beyond what inputs can outweigh are cut; outputs stay the same for any inputs."""
    rng = np.random.default_rng(4)
    weight = rng.integers(-64, 65, (9, 4, 3, 3))
    weight[0], weight[1] = 64, -64
    shift = torch.tensor([0, 3, 5, 8, 12, 15, -1, 10, 10], dtype=torch.int8)
    bias = torch.tensor(
        [[-(2**30), 2**30, -(2**29), 2**29, -(2**28), 2**30, -(2**30), 5, -1000]], dtype=torch.int32
    )
    layer = make_layer(torch.from_numpy(weight).float(), torch.zeros(1, 9), reach=0, factor=1)
    layer = type(layer)(layer.weight, bias, shift, 1)
    cut = without_excess(layer)
    x = rng.choice([0, 1, 128, 254, TOP, TOP], (3, 4, 12, 12))
    x[0], x[1] = 0, TOP
    assert np.array_equal(
        integer_convolution(layer, x, clamp=True), integer_convolution(cut, x, clamp=True)
    )
    assert largest_sum(layer, TOP).max() > EXACT > largest_sum(cut, TOP).max() and torch.equal(
        cut.bias[0, -2:], bias[0, -2:]
    )
