"""Encoder-decoder: how do an encoder and a decoder of other families become one `EncoderDecoderModel`?"""

import copy
from typing import Any

from torch import Tensor, nn

from warmstart.errors import UsageError


class EncoderDecoder(nn.Module):
    """Source tokens [n, s] and target tokens so far [n, t] to hidden states [n, t, d] of the decoder.

    It has the configuration of `EncoderDecoderModel`, but no output layer.
    """

    def __init__(self, config: Any, encoder: nn.Module, decoder: nn.Module, bridge: nn.Module | None = None):
        """`bridge`: from the encoder's width to the decoder's, where they differ."""
        super().__init__()
        self.config = config
        self.width = int(config.decoder.hidden_size)
        self.encoder, self.decoder = encoder, decoder
        self.enc_to_dec_proj = bridge

    @classmethod
    def of(cls, model: Any) -> "EncoderDecoder":
        """Made from an `EncoderDecoderModel`, sharing its weights."""
        bridge = getattr(model, "enc_to_dec_proj", None)
        return cls(model.config, _without_pooler(model.encoder), model.decoder.base_model, bridge)

    @classmethod
    def tied(cls, encoder: Any, special: dict[str, int | None]) -> "EncoderDecoder":
        """An encoder-decoder made from one encoder, whose weights initialize both parts.

        The cross-attention is new, drawn from torch's random state. `special` are token ids for the configuration.
        Raises UsageError for a family without a decoder.
        """
        from transformers import AutoModelForCausalLM
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

        config, writes = encoder_decoder_config(encoder.config, special), copy.deepcopy(encoder.config)
        if encoder.config.model_type not in CAUSAL:
            raise UsageError(
                f"no decoder can be started from an encoder of kind {encoder.config.model_type!r}.",
                "name a base that writes, or an encoder of BERT's or RoBERTa's kind",
            )
        writes._attn_implementation = None  # not the one of its encoder
        writes.is_decoder = writes.add_cross_attention = True
        device = next(encoder.parameters()).device
        decoder: Any = AutoModelForCausalLM.from_config(writes, trust_remote_code=False).base_model
        decoder = _without_pooler(decoder.float().to(device))
        decoder.load_state_dict(encoder.state_dict(), strict=False)
        return cls(config, copy.deepcopy(encoder), decoder)

    def get_encoder(self) -> nn.Module:
        return self.encoder

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        """The decoder's output, with `last_hidden_state`."""
        read = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.enc_to_dec_proj is not None:
            read = self.enc_to_dec_proj(read)
        return self.decoder(
            input_ids=decoder_input_ids,
            encoder_hidden_states=read,
            encoder_attention_mask=attention_mask,
            use_cache=False,
        )


def is_joined(body: nn.Module) -> bool:
    """Whether a body is two models joined here, not an encoder-decoder of one architecture such as T5."""
    return isinstance(body, EncoderDecoder)


def encoder_decoder_config(encoder: Any, special: dict[str, int | None]) -> Any:
    """The configuration of an encoder-decoder made from one encoder."""
    from transformers import EncoderDecoderConfig

    return EncoderDecoderConfig.from_encoder_decoder_configs(encoder, copy.deepcopy(encoder), **special)


def _without_pooler(body: Any) -> Any:
    if isinstance(getattr(body, "pooler", None), nn.Module):
        body.pooler = None
    return body
