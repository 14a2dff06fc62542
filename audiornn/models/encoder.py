"""Frames in, contextual frames out: an optional convolution stem, then stacked recurrent layers."""

from __future__ import annotations

from torch import Tensor, nn

from audiornn.models.cells import RecurrentLayer
from audiornn.models.config import EncoderConfig
from audiornn.models.dropout import SequenceDropout
from audiornn.models.stem import ConvolutionStem
from audiornn.padding import Frames, absent_frames, lengths_to_padding_mask, with_missing, without_missing, zero_padding


class RecurrentEncoder(nn.Module):
    """Stacked `RecurrentLayer`, after an optional `ConvolutionStem`; an item's output depends on that item alone.

    With ``layer_norm`` the features of every frame are normalised between one layer and the next.

    Args:
        config: cell, sizes, stem.
        input_size: features per frame.
    """

    def __init__(self, config: EncoderConfig, input_size: int) -> None:
        super().__init__()
        self.stem = ConvolutionStem(config.stem, input_size) if config.stem.channels else None
        size = self.stem.output_size if self.stem else input_size
        self.layers = nn.ModuleList()
        for _ in range(config.num_layers):
            layer = RecurrentLayer(
                config.cell,
                size,
                config.hidden_size,
                bidirectional=config.bidirectional,
                recurrent_dropout=config.recurrent_dropout,
            )
            if config.memory_frames:
                layer.remember(config.memory_frames)
            self.layers.append(layer)
            size = layer.output_size
        count = config.num_layers - 1 if config.layer_norm else 0
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(count))
        self.input_dropout = SequenceDropout(config.input_dropout)
        self.dropout = SequenceDropout(config.dropout)
        self.output_size = size
        self._forward_size = config.hidden_size
        self.frame_stride = self.stem.frame_stride if self.stem else 1
        """Frames that enter for one that leaves."""

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames that leave the encoder, of the frames that enter."""
        return self.stem.output_lengths(lengths) if self.stem else lengths

    def forward(self, features: Tensor, lengths: Tensor, missing: Tensor | None = None) -> Frames:
        """Encode a padded batch; whatever the padding and the missing frames hold is ignored.

        The recurrent layers skip missing frames; what leaves there is the state of the neighbours, see `with_missing`.

        Shape:
            features ``(batch, frames, input_size)``, lengths ``(batch,)`` int64, missing bool ``(batch, frames)``
            -> ``(batch, frames', output_size)`` with zeros as padding, lengths and missing frames.
        """
        if features.shape[1] == 0:  # clips shorter than one frame, without centring
            features, missing = features.new_zeros(features.shape[0], 1, features.shape[2]), None
        x = zero_padding(features, absent_frames(lengths, missing, features.shape[1]))
        if self.stem is not None:
            x, lengths, missing = self.stem(x, lengths, missing)
        if missing is None:
            return Frames(self._recur(x, lengths), lengths)
        moved = without_missing(x, lengths, missing)
        x = with_missing(self._recur(moved.values, moved.lengths), moved, self._forward_size)
        return Frames(zero_padding(x, lengths_to_padding_mask(lengths, x.shape[1])), lengths, missing)

    def _recur(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = self.input_dropout(x)
        for index, layer in enumerate(self.layers):
            x = layer(x, lengths)
            if index < len(self.norms):
                # Its constant is no padding.
                x = zero_padding(self.norms[index](x), lengths_to_padding_mask(lengths, x.shape[1]))
            x = self.dropout(x)
        return x
