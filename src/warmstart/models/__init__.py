"""Models: what is trained, seen as a body of layers and a head."""

from warmstart.models.dnn import HashedNet, Size
from warmstart.models.layers import Layer, layers
from warmstart.models.model import Model

__all__ = ["HashedNet", "Layer", "Model", "Size", "layers"]
