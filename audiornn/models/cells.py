"""One recurrent layer over sequences of different lengths, exact under padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from audiornn.errors import ConfigError
from audiornn.models.config import CELLS, GATED_CELLS
from audiornn.models.gru import Weights, run_gru
from audiornn.padding import is_captured, lengths_to_padding_mask, reverse_sequences, zero_padding

# Of smaller batches the operations that a step of time consists of cost more than what they compute.
_FEWEST_ITEMS = 16


class RecurrentLayer(nn.Module):
    """A plain, GRU or LSTM layer in one or both directions whose backward pass starts at each item's own end.

    The parameters are those of ``nn.RNN``, ``nn.GRU`` or ``nn.LSTM`` under the same names. Three forms compute the
    same outputs and gradients (`test_cells`):

    - *gathered*: each direction runs over the padded batch, the backward one on a copy whose rows are reversed within
      their lengths. It trains fastest on a CPU (LSTM 3 to 5 times), synchronises with no GPU, and exports.
    - *written out* (`audiornn.models.gru`): a GRU's training step on a CPU, 1.2 to 1.6 times as fast as the
      gathered one.
    - *packed*: ``pack_padded_sequence``; skips the padding, fastest for GRU and plain cells at inference on a CPU.

    Args:
        cell: ``rnn_tanh``, ``rnn_relu``, ``gru`` or ``lstm``.
        input_size: features per frame.
        hidden_size: units per direction.
        bidirectional: also run from the end; outputs of both directions are concatenated.
        recurrent_dropout: probability of each weight from state to state to be left out of a training step.
    """

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, *, bidirectional: bool, recurrent_dropout: float = 0.0
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ConfigError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        self.cell = cell
        self.recurrent_dropout = recurrent_dropout
        self.rnn: nn.RNNBase
        if cell == "lstm":
            self.rnn = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        elif cell == "gru":
            self.rnn = nn.GRU(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        else:
            self.rnn = nn.RNN(
                input_size, hidden_size, nonlinearity=cell[4:], batch_first=True, bidirectional=bidirectional
            )

    @torch.no_grad()
    def remember(self, longest: int) -> None:
        """Set the biases of the gates so that units forget over times drawn between 2 and ``longest`` frames.

        Chrono initialisation (Tallec & Ollivier, 2018): a gate that keeps ``sigmoid(b)`` of its unit forgets over
        ``1 + exp(b)`` frames; torch's biases around 0 forget over two.

        Raises:
            ValueError: a plain cell, which has no gate to set.
        """
        if self.cell not in GATED_CELLS:
            raise ValueError(f"expected a cell with gates, got {self.cell}")
        size = self.rnn.hidden_size
        for suffix in ("", "_reverse") if self.rnn.bidirectional else ("",):
            draws = torch.rand(size)
            kept = torch.log(1 + draws * max(0, longest - 2))
            for name in ("bias_ih", "bias_hh"):
                getattr(self.rnn, f"{name}_l0{suffix}").zero_()
            bias = getattr(self.rnn, f"bias_ih_l0{suffix}")
            # Gates in torch's order: input, forget, ... of an LSTM; reset, update, ... of a GRU.
            bias[size : 2 * size] = kept
            if self.cell == "lstm":
                bias[:size] = -kept

    @property
    def output_size(self) -> int:
        return self.rnn.hidden_size * (2 if self.rnn.bidirectional else 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Hidden state of every frame; padded frames are 0.

        Shape:
            x ``(batch, frames, input_size)`` with zeros as padding, lengths ``(batch,)`` int64
            -> ``(batch, frames, output_size)``.
        """
        packed_is_faster = not torch.is_grad_enabled() and self.cell != "lstm" and x.device.type == "cpu"
        leaves_out = self.training and self.recurrent_dropout > 0  # as the gathered form does alone
        if packed_is_faster and self.rnn.bidirectional and len(x) > 1 and not leaves_out:
            return self.forward_packed(x, lengths)
        trains = torch.is_grad_enabled() and x.device.type == "cpu" and not is_captured()
        if trains and self.cell == "gru" and len(x) >= _FEWEST_ITEMS:
            return self.forward_written_out(x, lengths)
        return self.forward_gathered(x, lengths)

    def forward_written_out(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`forward` of a GRU by `run_gru`; in float32 also under autocast."""
        backward = (False, True) if self.rnn.bidirectional else (False,)
        return run_gru(x, lengths, [self._weights(backward=each) for each in backward])

    def forward_gathered(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`forward` by running the backward direction on reversed copies."""
        outputs = self._run_direction(x, backward=False)
        if self.rnn.bidirectional:
            reversed_outputs = self._run_direction(reverse_sequences(x, lengths), backward=True)
            outputs = torch.cat((outputs, reverse_sequences(reversed_outputs, lengths)), dim=2)
        return zero_padding(outputs, lengths_to_padding_mask(lengths, x.shape[1]))

    def forward_packed(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`forward` by ``pack_padded_sequence``, which leaves no weights out."""
        # Packing refuses length 0: such an item runs over one frame of padding, which is zeroed below.
        packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.shape[1])
        return zero_padding(outputs, lengths_to_padding_mask(lengths, x.shape[1]))

    def _weights(self, *, backward: bool) -> Weights:
        suffix = "_reverse" if backward else ""
        weight_ih, weight_hh, bias_ih, bias_hh = (
            getattr(self.rnn, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        if self.training and self.recurrent_dropout:
            weight_hh = functional.dropout(weight_hh, self.recurrent_dropout)
        return weight_ih, weight_hh, bias_ih, bias_hh

    def _run_direction(self, x: Tensor, *, backward: bool) -> Tensor:
        initial, weights = x.new_zeros(1, x.shape[0], self.rnn.hidden_size), self._weights(backward=backward)
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        settings = (True, 1, 0.0, self.training, False, True)
        if self.cell == "lstm":
            return torch.lstm(x, (initial, initial), weights, *settings)[0]
        run = {"gru": torch.gru, "rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu}[self.cell]
        return run(x, initial, weights, *settings)[0]
