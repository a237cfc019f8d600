"""Recurrent nets of torch: their weights, one step from given input products, and a pass over padded rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lpr_lightning.types import State


class LayerWeights(NamedTuple):
    """Weights of one layer: of the input [gH, E] and of the state [gH, H], with a bias [gH] each (g = 4: LSTM)."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor

    @property
    def bias(self) -> Tensor:
        """The sum of both biases."""
        return self.bias_ih + self.bias_hh


def layer_weights(net: nn.RNNBase, layer: int = 0) -> LayerWeights:
    """Return the weights of a layer.

    >>> layer_weights(nn.LSTM(2, 3)).weight_ih.shape
    torch.Size([12, 2])
    """
    return LayerWeights(*net.all_weights[layer])


def recurrent_step(state: State, product: Tensor, weights: LayerWeights) -> State:
    """Return the states [B, A, H] of a layer after A possible inputs each; what these share is computed once.

    Args:
        state: (h, c) of an LSTM or (h,) of a tanh RNN, [B, H] each.
        product: Product of each input with `weight_ih`, without bias, [B or 1, A, gH], gates in torch's order.
        weights: The layer's.

    >>> net = nn.LSTM(2, 3)
    >>> x, zeros, weights = torch.randn(1, 2), torch.zeros(1, 3), layer_weights(net)
    >>> hidden, cell = recurrent_step((zeros, zeros), F.linear(x, weights.weight_ih)[None], weights)
    >>> torch.allclose(hidden[0], net(x)[0], atol=1e-6)
    True
    """
    gates = product + F.linear(state[0], weights.weight_hh, weights.bias)[:, None]
    if len(state) == 1:
        return (gates.tanh(),)
    entry, forget, candidate, output = gates.chunk(4, -1)
    if gates.requires_grad:
        cell = forget.sigmoid() * state[1][:, None] + entry.sigmoid() * candidate.tanh()
        return output.sigmoid() * cell.tanh(), cell
    cell = torch.addcmul(forget.sigmoid_() * state[1][:, None], entry.sigmoid_(), candidate.tanh_())
    return output.sigmoid_() * cell.tanh(), cell


def run_padded(net: nn.RNNBase, inputs: Tensor, mask: Tensor) -> tuple[Tensor, State]:
    """Return the outputs [B, T, H] and the states [B, layers, H] after each row's last real step.

    Args:
        net: A net with `batch_first=True`.
        inputs: [B, T, E].
        mask: True on the first steps of each row, [B, T]. Outputs of the others, and states of rows without any step,
            are zero.
    """
    if not bool(mask.any()):
        zeros = inputs.new_zeros(len(mask), net.num_layers, net.hidden_size)
        empty = inputs.new_zeros(*mask.shape, net.hidden_size)
        return empty, (zeros, zeros) if isinstance(net, nn.LSTM) else (zeros,)
    if bool(mask.all()):
        output, last = net(inputs)
        return output, tuple(part.transpose(0, 1) for part in _parts(last))
    lengths = mask.sum(1)
    packed = pack_padded_sequence(inputs, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False)
    output, last = net(packed)
    outputs = pad_packed_sequence(output, batch_first=True, total_length=mask.shape[1])[0]
    real = (lengths > 0)[:, None, None]
    return outputs * mask[..., None], tuple(torch.where(real, part.transpose(0, 1), 0.0) for part in _parts(last))


def _parts(state: Tensor | State) -> State:
    return (state,) if isinstance(state, Tensor) else state
