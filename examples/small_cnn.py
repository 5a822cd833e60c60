"""How does an architecture of your own take part? A small convolutional network on the base's tokens.

warmstart compare demo/catalogue.csv --target price --model examples/small_cnn.py:build --out study
"""

import torch
from torch import Tensor, nn

WIDTH = 128


class SmallCNN(nn.Module):
    """Embeddings, convolutions over 2, 3 and 4 neighboring tokens, and the largest value of each along the text."""

    width = 3 * WIDTH  # what the head reads: warmstart asks for this number

    def __init__(self, vocabulary: int):
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, WIDTH)
        # No bias: what stands beyond the text then gives 0, which is never more than a rectified value.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(WIDTH, WIDTH, size, padding=size - 1, bias=False) for size in (2, 3, 4)
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Tokens [n, t] to features [n, width]; without a mask no text of the batch is padded."""
        embedded = self.embeddings(input_ids)
        if attention_mask is not None:
            embedded = embedded * attention_mask.unsqueeze(-1)
        along = embedded.transpose(1, 2)
        found = torch.cat([conv(along).relu().amax(dim=2) for conv in self.convolutions], dim=1)
        return nn.functional.dropout(found, 0.2, self.training)


def build(vocabulary: int) -> nn.Module:
    """Called with the size of the tokenizer's vocabulary; random weights are drawn from the run's seed."""
    return SmallCNN(vocabulary)
