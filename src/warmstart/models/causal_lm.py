"""Causal LM: how are a body and its output layer joined to the model class of their family, and split again?"""

import copy
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from warmstart.errors import UsageError
from warmstart.models.encoder_decoder import EncoderDecoder

BaseKind = Literal["decoder", "encoder", "encoder-decoder", "image"]

PAIRED = "encoder-decoder"  # the family whose models are an encoder and a decoder of other families
OFFSET = "final_logits_bias"

# What stands before the output layer, in order, in families that keep it in pieces of which some have no weights.
TRANSFORMS = {"distilbert": ("vocab_transform", "activation", "vocab_layer_norm")}


@dataclass(frozen=True)
class OutputLayer:
    """From the body's hidden states [n, d] to logits [n, vocabulary].

    softcap x tanh(scale x (transform(hidden) x weight + bias) / softcap), without the parts that are None.
    """

    weight: Tensor | None  # [vocabulary, d]; None: the body's own token table, which stays shared
    bias: Tensor | None = None  # [vocabulary]
    offset: Tensor | None = None  # [vocabulary], added to the logits and never learned: of BART kinds
    transform: nn.Sequential | None = None  # of BERT kinds
    scale: float = 1.0
    softcap: float | None = None
    fresh: bool = False  # drawn at random, since the checkpoint has none

    @property
    def tied(self) -> bool:
        return self.weight is None


def kind_of(config: Any) -> BaseKind:
    """Whether a model is a decoder (causal), an encoder (bidirectional), or an encoder-decoder."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    if getattr(config, "is_decoder", False):  # a BERT that was told to look to the left only
        return "decoder"
    return "decoder" if config.model_type in CAUSAL and config.model_type not in MASKED else "encoder"


def token_table(body: Any) -> nn.Embedding:
    """The embedding table that a tied output layer shares: the decoder's, if there are two."""
    pair = getattr(getattr(body, "config", None), "is_encoder_decoder", False)
    table: nn.Embedding = (body.decoder if pair else body).get_input_embeddings()
    return table


def known_tokens(body: Any) -> int | None:
    """Size of the smallest embedding table among the body's parts; None if it reads no tokens."""
    pair = getattr(getattr(body, "config", None), "is_encoder_decoder", False)
    tables = []
    for part in (body.get_encoder(), body.decoder) if pair else (body,):
        try:
            tables.append(part.get_input_embeddings())
        except (AttributeError, NotImplementedError):
            return None
    return min((table.num_embeddings for table in tables if isinstance(table, nn.Embedding)), default=None)


def auto_class(kind: BaseKind) -> Any:
    """The class of transformers that loads a model of this kind with its output layer."""
    import transformers

    return {
        "decoder": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModelForMaskedLM,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }[kind]


def without_output(config: Any) -> nn.Module:
    """A full model of this configuration on the meta device, without values."""
    with torch.device("meta"):
        model: nn.Module = auto_class(kind_of(config)).from_config(copy.deepcopy(config), trust_remote_code=False)
    return model


def output_of(model: Any, fresh: bool = False) -> OutputLayer:
    """The model's output layer, with weights in storage of its own. `model` cannot be used afterwards.

    Raises UsageError for a model that computes its logits in another way: they are computed here and compared.
    """
    if model.config.model_type == PAIRED:
        model = model.decoder
    config, layer = model.config, model.get_output_embeddings()
    if not isinstance(layer, nn.Linear):
        raise _unknown(config, "it has no linear layer that gives logits")
    pair = kind_of(config) == "encoder-decoder"
    table = model.get_decoder().get_input_embeddings() if pair else model.get_input_embeddings()
    tied = layer.weight is table.weight
    ids = torch.arange(8)[None] % len(table.weight)
    was = model.training
    model.eval()
    with torch.no_grad():
        if pair:
            expected = model(input_ids=ids, decoder_input_ids=ids).logits
            read = model.get_encoder()(input_ids=ids).last_hidden_state
            hidden = model.get_decoder()(input_ids=ids, encoder_hidden_states=read).last_hidden_state
        else:
            expected = model(input_ids=ids).logits
            hidden = model.base_model(input_ids=ids).last_hidden_state
        model.train(was)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        weight = layer.weight.detach().clone()
        transform = None if pair else _transform(model, layer)
        found = OutputLayer(weight, bias, _offset(model), transform, _scale(config), _softcap(config), fresh)
        if not torch.allclose(logits(found, hidden), expected, atol=1e-4, rtol=1e-4):
            raise _unknown(config, "its logits are made in a way that is not known here")
    return replace(found, weight=None) if tied else found


def logits(output: OutputLayer, hidden: Tensor) -> Tensor:
    """[..., vocabulary] from hidden states [..., d]; not for a tied layer, whose weight is in the body."""
    assert output.weight is not None
    if output.transform is not None:
        hidden = output.transform(hidden)
    found = output.scale * nn.functional.linear(hidden, output.weight, output.bias)
    found = found if output.offset is None else found + output.offset
    return found if output.softcap is None else output.softcap * torch.tanh(found / output.softcap)


def _scale(config: Any) -> float:
    """Factor of the logits: Granite divides them, Cohere multiplies them, T5 scales hidden states if its tables are
    tied.
    """
    if getattr(config, "scale_decoder_outputs", False):
        return float(config.d_model**-0.5)
    return float(getattr(config, "logit_scale", None) or 1 / (getattr(config, "logits_scaling", None) or 1.0))


def _softcap(config: Any) -> float | None:
    """Gemma's soft cap."""
    cap = getattr(config, "final_logit_softcapping", None)
    return None if cap is None else float(cap)


def _offset(model: Any) -> Tensor | None:
    """The logits' bias of BART kinds, [vocabulary]; None if it is zero, as in most of them."""
    offset = getattr(model, OFFSET, None)
    return offset[0].detach().clone() if offset is not None and offset.any() else None


def _transform(model: Any, layer: nn.Module) -> nn.Sequential | None:
    """Everything between the body and the output layer, under the model's own names, without the output layer."""
    children = OrderedDict((n, m) for n, m in model.named_children() if n != model.base_model_prefix and m is not layer)
    order = TRANSFORMS.get(model.config.model_type, tuple(children))
    for module in model.modules():
        for name, child in list(module.named_children()):
            if child is layer and module is not model:
                setattr(module, name, nn.Identity())
                module.register_parameter("bias", None)  # the output layer's, under a second name
    return nn.Sequential(OrderedDict((name, children[name]) for name in order)) if order else None


def _unknown(config: Any, why: str) -> UsageError:
    return UsageError(
        f"a model of kind {config.model_type!r} cannot be trained as a language model here: {why}.",
        "name another base, e.g. one of the Llama, Qwen, Mistral, GPT-2, BERT or RoBERTa kinds",
    )


def causal_lm(body: Any, output: OutputLayer) -> Any:
    """The body and its output layer as one model of the family's own class, which saves in the usual format.

    Weights are shared, not copied, and tied weights stay tied.
    """
    model: Any = without_output(body.config)
    if isinstance(body, EncoderDecoder):
        return _of_pair(model, body, output)
    if hasattr(model, model.base_model_prefix):
        setattr(model, model.base_model_prefix, body)
    else:  # T5's parts stand in the whole model itself
        for name, part in body.named_children():
            setattr(model, name, part)
    if hasattr(model, OFFSET):
        weight = body.get_input_embeddings().weight
        offset = weight.new_zeros(getattr(model, OFFSET).shape[-1]) if output.offset is None else output.offset
        setattr(model, OFFSET, offset[None])
    if output.transform is not None:
        model.load_state_dict(output.transform.state_dict(keep_vars=True), strict=False, assign=True)
    layer = model.get_output_embeddings()
    _put(model, layer.weight, token_table(body).weight if output.weight is None else output.weight)
    if output.bias is not None:
        bias = _put(model, layer.bias, output.bias)
        for same in [each for each in model.parameters() if each.is_meta and each.shape == output.bias.shape]:
            _put(model, same, bias)  # transformers 5.0 has it under a second name
    model.config.tie_word_embeddings = output.tied
    left = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    assert not left, left
    return model.train(body.training)


def _of_pair(model: Any, body: EncoderDecoder, output: OutputLayer) -> Any:
    model.encoder, model.decoder = body.encoder, causal_lm(body.decoder, output)
    if body.enc_to_dec_proj is not None:
        model.enc_to_dec_proj = body.enc_to_dec_proj
    model.config.decoder = model.decoder.config
    return model.train(body.training)


def _put(model: nn.Module, empty: Tensor, tensor: Tensor) -> nn.Parameter:
    """Replace a tensor wherever it occurs: a bias may have two names. Returns what stands there now."""
    parameter = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor)
    for module in model.modules():
        for name, found in list(module.named_parameters(recurse=False)):
            if found is empty:
                setattr(module, name, parameter)
    return parameter


def new_output_layer(config: Any) -> OutputLayer:
    """An output layer for a body of this configuration, drawn from torch's random state as the family draws it."""
    config = config.decoder if config.model_type == PAIRED else config
    model: Any = auto_class(kind_of(config)).from_config(config, trust_remote_code=False).float()
    return output_of(model, fresh=True)
