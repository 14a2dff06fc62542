from __future__ import annotations

import numpy as np
import pytest
import torch

from audiornn import padding
from audiornn.errors import AudioError
from audiornn.sequences import pad_rows

LENGTHS = torch.tensor([4, 1, 0, 7])


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0))


def poisoned(frames: torch.Tensor) -> torch.Tensor:
    return frames.masked_fill(padding.lengths_to_padding_mask(LENGTHS, 7).unsqueeze(2), float("nan"))


def test_mask_is_true_exactly_past_each_length():
    mask = padding.lengths_to_padding_mask(LENGTHS, 7)
    assert (~mask).sum(dim=1).tolist() == LENGTHS.tolist()
    assert not mask[0, 3] and mask[0, 4]


def test_reductions_equal_numpy_on_the_valid_frames(frames):
    mask = padding.lengths_to_padding_mask(LENGTHS, 7)
    mean, std = padding.masked_mean_std(poisoned(frames), mask, eps=0.0)
    maximum = padding.masked_max(poisoned(frames), mask)
    for row, length in enumerate(LENGTHS.tolist()):
        valid = frames[row, :length].numpy()
        expected = (valid.mean(0), valid.std(0), valid.max(0)) if length else (np.zeros(3),) * 3
        for got, want in zip((mean[row], std[row], maximum[row]), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)


def test_softmax_gives_padding_nothing_and_the_rest_everything(frames):
    weights = padding.masked_softmax(poisoned(frames), padding.lengths_to_padding_mask(LENGTHS, 7))
    torch.testing.assert_close(weights[0, :4], torch.softmax(frames[0, :4], dim=0))
    assert weights[0, 4:].eq(0).all() and weights[2].eq(0).all()


@pytest.mark.parametrize("reduce", [padding.masked_mean, padding.masked_max, padding.masked_mean_std])
def test_gradient_on_padding_is_zero_even_beside_nan(frames, reduce):
    x = poisoned(frames).requires_grad_()
    result = reduce(x, padding.lengths_to_padding_mask(LENGTHS, 7))
    sum(part.sum() for part in (result if isinstance(result, tuple) else (result,))).backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert x.grad[padding.lengths_to_padding_mask(LENGTHS, 7)].eq(0).all()


def test_reversing_twice_is_the_identity_and_once_reverses_the_valid_frames(frames):
    once = padding.reverse_sequences(frames, LENGTHS)
    assert torch.equal(once[0, :4], frames[0, :4].flip(0)) and torch.equal(once[0, 4:], frames[0, 4:])
    assert torch.equal(padding.reverse_sequences(once, LENGTHS), frames)


def test_gradients_are_reversed_alike_to_any_order(frames):
    x = frames.double().requires_grad_()
    assert torch.autograd.gradcheck(padding.reverse_sequences, (x, LENGTHS))
    assert torch.autograd.gradgradcheck(padding.reverse_sequences, (x, LENGTHS))


def test_last_valid_frame_is_picked_per_item(frames):
    last = padding.last_valid(frames, LENGTHS)
    assert torch.equal(last[0], frames[0, 3]) and torch.equal(last[3], frames[3, 6]) and last[2].eq(0).all()


def test_padded_rows_keep_samples_and_counts():
    batch, lengths = pad_rows([np.ones(3, np.float32), np.full(5, 2, np.float32)])
    assert lengths.tolist() == [3, 5] and lengths.dtype == np.int64
    assert batch.dtype == np.float32 and batch.tolist() == [[1, 1, 1, 0, 0], [2, 2, 2, 2, 2]]
    assert pad_rows([], (4,))[0].shape == (0, 0, 4)


def test_frames_of_another_size_are_not_padded_to_one():
    with pytest.raises(AudioError, match="expected frames of shape"):
        pad_rows([np.ones((2, 3), np.float32), np.ones((2, 1), np.float32)], (3,))


def test_zeroing_in_place_is_the_same_item_by_item_and_through_a_mask(frames):
    wanted = frames.masked_fill(padding.lengths_to_padding_mask(LENGTHS, 7).unsqueeze(2), 0.0)
    assert torch.equal(padding.zero_past_lengths_(poisoned(frames), LENGTHS), wanted)
    values = frames.clone().requires_grad_()
    masked = padding.zero_past_lengths_(values * 1, LENGTHS)
    assert torch.equal(masked, wanted)
    masked.sum().backward()
    assert torch.equal(values.grad, (wanted != 0).float())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reductions_of_half_precision_count_and_sum_as_those_of_float32(dtype):
    """301 is 300 or 302 in bfloat16, and 301 times 300 is infinite in float16."""
    generator = torch.Generator().manual_seed(0)
    x = (300 + torch.randn(2, 400, 3, generator=generator)).to(dtype)
    mask = padding.lengths_to_padding_mask(torch.tensor([301, 399]), 400)
    wide = x.double()
    torch.testing.assert_close(
        padding.masked_mean(x, mask).double(), padding.masked_mean(wide, mask), rtol=1e-6, atol=0
    )
    for found, wanted in zip(padding.masked_mean_std(x, mask), padding.masked_mean_std(wide, mask), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=0)
    assert torch.equal(padding.masked_max(x, mask).double(), padding.masked_max(wide, mask))
    weights = padding.masked_softmax(x / 100, mask)
    assert weights.masked_select(mask.unsqueeze(2)).eq(0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 3), rtol=1e-5, atol=0)
