"""Settings of the network behind the front end. Without torch, so that a command can check them cheaply."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from audiornn.errors import ConfigError

GATED_CELLS = ("gru", "lstm")
CELLS = ("rnn_tanh", "rnn_relu", *GATED_CELLS)
POOLINGS = ("last", "mean", "max", "mean_std", "attention", "multihead_attention")
QUERIES = ("learned", "middle")
NORM_RELU, RELU_NORM = "norm_relu", "relu_norm"
MAX_LAYERS, MAX_UNITS, MAX_KERNEL = 64, 1 << 16, 255
"""More than anybody has, and little enough for the settings of a stranger's model to be refused at once."""


def _check_limit(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise ConfigError(f"{name} must be at most {limit:,}, got {value}")


@dataclass(frozen=True, kw_only=True)
class StemConfig:
    """A stack of 2-D convolutions over (frames, features); no channels means no stem."""

    channels: list[int] = field(default_factory=list)
    """Output channels of each convolution."""
    frame_strides: list[int] = field(default_factory=list)
    """Stride along frames of each convolution; empty means 1 everywhere."""
    feature_strides: list[int] = field(default_factory=list)
    """Stride along features of each convolution; empty means 1 everywhere."""
    kernel_frames: int = 3
    """Kernel extent along frames, odd."""
    kernel_features: int = 3
    """Kernel extent along features, odd; 1 for MFCC, whose neighbours are not alike."""
    order: str = NORM_RELU
    """``norm_relu``; ``relu_norm``: each convolution has a bias, and what it gives is rectified before it is
    normalised, with Keras's constants, as in MHAtt-RNN."""

    def __post_init__(self) -> None:
        for name in ("frame_strides", "feature_strides"):
            strides = getattr(self, name)
            if strides and len(strides) != len(self.channels):
                raise ConfigError(
                    f"{name} must have one entry per stem convolution, got {len(strides)} for {len(self.channels)}"
                )
        if min([1, *self.channels, *self.frame_strides, *self.feature_strides]) < 1:
            raise ConfigError("stem channels and strides must be at least 1")
        _check_limit("number of stem convolutions", len(self.channels), MAX_LAYERS)
        for name in ("channels", "frame_strides", "feature_strides"):
            _check_limit(f"stem {name}", max(getattr(self, name), default=0), MAX_UNITS)
        if self.order not in (NORM_RELU, RELU_NORM):
            raise ConfigError(f"stem order must be {NORM_RELU} or {RELU_NORM}, got {self.order!r}")
        for name in ("kernel_frames", "kernel_features"):
            if getattr(self, name) < 1 or getattr(self, name) % 2 == 0:
                raise ConfigError(f"{name} must be odd and at least 1, got {getattr(self, name)}")
            _check_limit(name, getattr(self, name), MAX_KERNEL)

    @property
    def norm_eps(self) -> float:
        """What is added to a variance."""
        return 1e-3 if self.order == RELU_NORM else 1e-5

    @property
    def frame_stride(self) -> int:
        """Frames that enter for one that leaves."""
        return math.prod(self.frame_strides)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The recurrent encoder; names as in ``torch.nn.GRU``."""

    cell: str = "lstm"
    """``rnn_tanh``, ``rnn_relu``, ``gru`` or ``lstm``."""
    hidden_size: int = 128
    """Units per direction and layer."""
    num_layers: int = 2
    """Stacked recurrent layers, at least 1."""
    bidirectional: bool = True
    """Read every sequence from both ends."""
    dropout: float = 0.0
    """Dropout between recurrent layers and after the last, in [0, 1): see `SequenceDropout`."""
    input_dropout: float = 0.0
    """Dropout on what enters the first recurrent layer, in [0, 1)."""
    recurrent_dropout: float = 0.0
    """Weights from state to state that are left out in training, the same ones in a whole step, in [0, 1): DropConnect
    (Merity et al., 2018)."""
    layer_norm: bool = False
    """Normalise the features of every frame (Ba et al., 2016) between one recurrent layer and the next."""
    memory_frames: int = 0
    """Gates start out keeping what they hold over up to so many frames, see `RecurrentLayer.remember`; 0 = over two."""
    stem: StemConfig = field(default_factory=StemConfig)
    """Convolutions before the recurrent layers."""

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ConfigError(f"cell must be one of {', '.join(CELLS)}, got {self.cell!r}")
        for name in ("hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        _check_limit("hidden_size", self.hidden_size, MAX_UNITS)
        _check_limit("num_layers", self.num_layers, MAX_LAYERS)
        _check_limit("memory_frames", self.memory_frames, MAX_UNITS)
        if self.memory_frames != 0 and self.memory_frames < 3:
            raise ConfigError(f"memory_frames must be 0 or at least 3, got {self.memory_frames}")
        if self.memory_frames and self.cell not in GATED_CELLS:
            raise ConfigError(
                f"memory_frames are of gates: expected cell to be {' or '.join(GATED_CELLS)}, got {self.cell!r}"
            )
        if self.layer_norm and self.num_layers < 2:
            raise ConfigError(
                f"layer_norm stands between layers: expected num_layers of at least 2, got {self.num_layers}"
            )
        for name in ("dropout", "input_dropout", "recurrent_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class PoolingConfig:
    """How frames become one vector."""

    kind: str = "mean"
    """``last``, ``mean``, ``max``, ``mean_std``, ``attention`` or ``multihead_attention``."""
    num_heads: int = 4
    """Heads of ``multihead_attention``."""
    query: str = "learned"
    """``multihead_attention``: a ``learned`` query per head, or one computed from the ``middle`` frame (MHAtt-RNN)."""

    def __post_init__(self) -> None:
        if self.kind not in POOLINGS:
            raise ConfigError(f"pooling kind must be one of {', '.join(POOLINGS)}, got {self.kind!r}")
        if self.query not in QUERIES:
            raise ConfigError(f"pooling query must be one of {', '.join(QUERIES)}, got {self.query!r}")
        if self.num_heads < 1:
            raise ConfigError(f"num_heads must be at least 1, got {self.num_heads}")
        _check_limit("num_heads", self.num_heads, MAX_UNITS)


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """What follows the pooling."""

    embedding_size: int = 0
    """Units of the embedding layer (linear, ReLU); 0 means that the pooled vector is the embedding."""
    dropout: float = 0.0
    """Dropout on the pooled vector and on the embedding, in [0, 1)."""
    embedding_dropout: float | None = None
    """Dropout on the embedding where it is another than on the pooled vector; None = the same."""

    def __post_init__(self) -> None:
        if self.embedding_size < 0:
            raise ConfigError(f"embedding_size must be at least 0, got {self.embedding_size}")
        _check_limit("embedding_size", self.embedding_size, MAX_UNITS)
        for name in ("dropout", "embedding_dropout"):
            if not 0 <= (getattr(self, name) or 0.0) < 1:
                raise ConfigError(f"head {name} must be in [0, 1), got {getattr(self, name)}")
        if self.embedding_dropout and not self.embedding_size:
            raise ConfigError(
                f"embedding_dropout is of the embedding layer: expected embedding_size above 0, got "
                f"{self.embedding_size}"
            )

    @property
    def dropout_after(self) -> float:
        """Dropout on the embedding."""
        return self.dropout if self.embedding_dropout is None else self.embedding_dropout


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything after the front end."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    pooling: PoolingConfig = field(default_factory=PoolingConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    projection: int = 64
    """Units that each of several input streams is projected to."""

    def __post_init__(self) -> None:
        if self.projection < 1:
            raise ConfigError(f"projection must be at least 1, got {self.projection}")
        _check_limit("projection", self.projection, MAX_UNITS)
