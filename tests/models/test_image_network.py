"""Networks for images: their shapes, what they cost, and the published names of EfficientNet-Lite0."""

import numpy as np
import pytest
import torch
from torch import nn

from warmstart.models.cnn import CnnSize, SmallCnn, cnn_size
from warmstart.models.efficientnet import EfficientNetLite, SamePadding, load_lite_weights
from warmstart.models.image_network import Family, ImageNetworkConfig
from warmstart.models.layers import layers, repeated_blocks
from warmstart.models.model import Model
from warmstart.regimes.discriminative import Discriminative
from warmstart.regimes.frozen import Frozen
from warmstart.regimes.full import Full
from warmstart.regimes.lora import LoRA, adapted_names, merge_adapters
from warmstart.training.flops import flops
from warmstart.training.loop import set_trainable

SMALL = ImageNetworkConfig("small cnn", 12, {"width": 4, "blocks": 1})


@pytest.mark.parametrize(("side", "channels"), [(8, (4,)), (12, (4, 8)), (28, (4, 8, 16)), (64, (4, 8, 16, 32))])
def test_feature_maps_are_halved_to_eight_pixels(side: int, channels: tuple[int, ...]) -> None:
    size = CnnSize(side, 4, 1)
    assert size.channels == channels
    assert SmallCnn(size).eval()(torch.zeros(2, 3, side, side)).shape == (2, channels[-1])


def test_more_rows_make_a_wider_network() -> None:
    assert [cnn_size(rows, 28).width for rows in (500, 5_000, 50_000)] == [24, 32, 48]


def test_multiplications_are_those_of_the_convolutions() -> None:
    first, block = 12 * 12 * 27 * 4, 12 * 12 * 36 * 4 * 2
    second = 6 * 6 * (36 * 8 + 72 * 8 + 4 * 8)
    assert SMALL.multiplications == first + block + second
    model = Model(SMALL.build(), nn.Linear(8, 3))
    cost = flops(model, Full().rates(model))
    assert cost.forward(np.ones(5))[0] == 2 * (SMALL.multiplications + 24)
    assert cost.training(np.ones(1))[0] == 3 * cost.forward(np.ones(1))[0]


def test_lite0_has_the_published_size_and_loads_its_names_strictly() -> None:
    body = EfficientNetLite()
    assert sum(parameter.numel() for parameter in body.parameters()) == 3_371_008
    assert ImageNetworkConfig("efficientnet-lite0", 224).multiplications == pytest.approx(385e6, rel=0.02)
    weights = {name: tensor + 1 for name, tensor in body.state_dict().items()} | {"_fc.bias": torch.zeros(1000)}
    load_lite_weights(body, weights)
    assert torch.equal(body.state_dict()["_conv_stem.weight"], weights["_conv_stem.weight"])
    del weights["_blocks.3._bn1.running_mean"]
    with pytest.raises(RuntimeError, match=r"_blocks\.3\._bn1"):
        load_lite_weights(body, weights)


def test_padding_is_tensorflows() -> None:
    conv = SamePadding(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    assert conv(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9.0, 6.0], [6.0, 4.0]]  # nothing above, a pixel below
    assert conv(torch.ones(1, 1, 5, 7)).shape == (1, 1, 3, 4)


def test_channels_filtered_one_by_one_are_computed_in_fp32_on_a_cpu() -> None:
    image = torch.randn(2, 4, 6, 6)
    each, across = SamePadding(4, 4, 3, groups=4, bias=False), SamePadding(4, 4, 3, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        assert each(image).dtype == each(image.bfloat16()).dtype == torch.float32
        assert across(image).dtype == torch.bfloat16


@pytest.mark.parametrize("family", ["small cnn", "efficientnet-lite0", "resnet"])
def test_every_block_gets_its_channels_last(family: Family) -> None:
    settings = {"small cnn": {"width": 4}, "resnet": {"blocks": (1, 1, 1, 1), "bottleneck": False}}.get(family, {})
    body = ImageNetworkConfig(family, 32, settings).build().eval()
    seen = []
    for _, block in repeated_blocks(body):
        block.register_forward_pre_hook(
            lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
        )
    body(torch.randn(2, 3, 32, 32))
    assert seen and all(seen)
    assert all(weight.is_contiguous() for weight in body.parameters())  # as a restored optimizer state lies


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_architectures_of_transformers(kind: str) -> None:
    from transformers import ResNetConfig, ViTConfig

    resnet = ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    vit = ViTConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, image_size=16)
    vit.patch_size = 8
    config = ImageNetworkConfig("transformers", 16, (resnet if kind == "resnet" else vit).to_dict())
    body = ImageNetworkConfig.from_json(config.to_json()).build().eval()
    found = body(torch.zeros(2, 3, 16, 16))
    assert found.shape == ((2, 6) if kind == "resnet" else (2, 5, 8))
    assert body.width == found.shape[-1]
    assert config.multiplications > 0 and config.attends == (kind == "vit")
    blocks = "encoder.stages" if kind == "resnet" else "layers"
    names = [layer.name for layer in layers(Model(body, nn.Linear(body.width, 2)))]
    assert names[1:] == [f"body.network.{blocks}.0", f"body.network.{blocks}.1", "head"]


def test_batch_norm_of_frozen_layers_stays_still() -> None:
    model = Model(ImageNetworkConfig("efficientnet-lite0", 32).build(), nn.Linear(1280, 2))
    for method in (Frozen(), Frozen(unfrozen=2), Discriminative(), Full(), LoRA(rank=2)):
        model.body = method.prepare(model.body)
        rates = method.rates(model)
        set_trainable(model, rates)
        learning = {name.rpartition(".")[0] for name in rates}
        for name, module in model.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.training == (name in learning), (method, name)


def test_adapters_lie_on_convolutions_across_channels_and_merge_into_them() -> None:
    lite = adapted_names(ImageNetworkConfig("efficientnet-lite0", 32).build())
    assert {name.rpartition(".")[2] for name in lite} == {"_expand_conv", "_project_conv"}  # no depthwise one
    body = SMALL.build().eval()
    assert [name for name in adapted_names(body) if "shortcut" not in name] == [
        f"network.blocks.{i}.conv{j}" for i in (0, 1) for j in (1, 2)
    ]
    pixels = torch.randn(2, 3, 12, 12)
    before = body(pixels)
    adapted = LoRA(rank=2).prepare(body).eval()
    for name, weight in adapted.named_parameters():
        if ".lora_" in name:
            nn.init.normal_(weight, std=0.2)
    changed = adapted(pixels)
    assert not torch.allclose(before, changed, atol=1e-2)
    merged = merge_adapters(adapted)
    assert not any(".lora_" in name for name, _ in merged.named_parameters())
    assert torch.allclose(merged(pixels), changed, rtol=1e-4, atol=1e-4)
