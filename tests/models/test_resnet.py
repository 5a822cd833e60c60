"""ResNet computes what transformers' ResNet does with the same weights, and loads the usual names strictly."""

import pytest
import torch
from torch import Tensor, nn

from warmstart.models.image_network import ImageNetworkConfig
from warmstart.models.layers import layers
from warmstart.models.model import Model
from warmstart.models.resnet import SHAPES, ResNet, load_resnet_weights, own_names, shape_of

BODY_WEIGHTS = {
    "ResNet-18": 11_176_512,
    "ResNet-34": 21_284_672,
    "ResNet-50": 23_508_032,
}  # published, without the head


def published(name: str) -> dict[str, Tensor]:
    """Random weights by their usual names, with a head for ten classes."""
    shape, found = SHAPES[name], {}
    first = [sum(shape.blocks[:stage]) for stage in range(5)]
    for own, weight in ResNet(shape).state_dict().items():
        if own.startswith("blocks."):
            _, number, rest = own.split(".", 2)
            stage = max(i for i in range(4) if first[i] <= int(number))
            own = f"layer{stage + 1}.{int(number) - first[stage]}.{rest}"
        found[own] = torch.rand_like(weight) + 0.5 if weight.is_floating_point() and weight.ndim == 1 else weight
    return found | {"fc.weight": torch.zeros(10, 4), "fc.bias": torch.zeros(10)}


def as_transformers(name: str) -> str:
    """The name that transformers has for a usual one."""
    if not name.startswith("layer"):
        return name.replace("conv1", "embedder.embedder.convolution").replace("bn1", "embedder.embedder.normalization")
    stage, place, part, *rest = name.split(".")
    if part == "downsample":
        part, rest = f"shortcut.{'convolution' if rest[0] == '0' else 'normalization'}", rest[1:]
    else:
        kind = "convolution" if part.startswith("conv") else "normalization"
        part = f"layer.{int(part[-1]) - 1}.{kind}"
    return f"encoder.stages.{int(stage[-1]) - 1}.layers.{place}.{part}.{'.'.join(rest)}"


@pytest.mark.parametrize("name", ["ResNet-18", "ResNet-50"])
def test_features_are_those_of_transformers(name: str) -> None:
    from transformers import ResNetConfig, ResNetModel

    weights, shape = published(name), SHAPES[name]
    widths = [width * (4 if shape.bottleneck else 1) for width in (64, 128, 256, 512)]
    kind = "bottleneck" if shape.bottleneck else "basic"
    theirs = ResNetModel(ResNetConfig(depths=list(shape.blocks), hidden_sizes=widths, layer_type=kind)).eval()
    theirs.load_state_dict({as_transformers(key): value for key, value in weights.items() if "fc." not in key})
    ours = ResNet(shape).eval()
    load_resnet_weights(ours, weights, shape)
    pixels = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        expected, found = theirs(pixels).last_hidden_state.mean((2, 3)), ours(pixels)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert found.std() > 0


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_numbers_of_weights_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        body = ResNet(SHAPES[name])
    assert sum(weight.numel() for weight in body.parameters()) == BODY_WEIGHTS[name]
    weights = published(name)
    assert shape_of(weights) == SHAPES[name]
    assert own_names(weights, SHAPES[name]).keys() == body.state_dict().keys()
    model = Model(ImageNetworkConfig("resnet", 32, SHAPES[name].to_json()).build(), nn.Linear(4, 2))
    assert len(layers(model)) == sum(SHAPES[name].blocks) + 2


def test_other_weights_are_not_loaded() -> None:
    weights = published("ResNet-18")
    without = {name: each for name, each in weights.items() if "num_batches" not in name}
    body = ResNet(SHAPES["ResNet-18"])
    load_resnet_weights(body, without, SHAPES["ResNet-18"])
    del weights["layer2.1.conv2.weight"]
    with pytest.raises(RuntimeError, match=r"blocks\.3\.conv2"):
        load_resnet_weights(body, weights, SHAPES["ResNet-18"])
    assert shape_of({"layer1.0.conv1.weight": None, "layer2.0.conv1.weight": None}) is None
    assert shape_of({}) is None
