from __future__ import annotations

from itertools import pairwise

import pytest

from audiornn.store.cutting import cut_into_parts
from audiornn.store.decoding import Segment


def cut(sizes: list[int]) -> list[tuple[int, int]]:
    segments = [Segment(str(number), 0.0, None) for number in range(len(sizes))]
    cuts = cut_into_parts(segments, {str(number): size for number, size in enumerate(sizes)})
    return [(each.start, each.stop) for each in cuts]


@pytest.mark.parametrize("sizes", [[0], [0] * 3000, [32_000] * 5000, [10**9] * 3, [1, 10**9, 1, 1], [10**12, 1]])
def test_every_row_is_in_one_part_in_order(sizes: list[int]) -> None:
    parts = cut(sizes)
    assert parts[0][0] == 0 and parts[-1][1] == len(sizes)
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert all(start < stop for start, stop in parts)


def test_parts_are_many_and_of_moderate_size() -> None:
    for count, size in ((100_000, 2000), (30_000, 32_000), (20, 19_000_000)):
        parts = cut([size] * count)
        assert min(count, 48) <= len(parts) <= 512 and len(parts) >= min(count, 20)
        assert max(stop - start for start, stop in parts) * size <= max(size, 256 << 20)


def test_file_that_grows_leaves_the_other_parts_what_they_were() -> None:
    sizes = [32_000] * 10_000
    before = cut(sizes)
    sizes[5000] = 200_000
    assert cut(sizes) == before
    sizes[5000] = 50_000_000
    assert len(set(cut(sizes)) ^ set(before)) <= 3


def test_segments_of_a_long_file_count_for_what_they_take() -> None:
    segments = [Segment("long", float(start), start + 1.0) for start in range(1000)]
    parts = cut_into_parts(segments, {"long": 10**9})
    assert 20 <= len(parts) <= 100
