"""Percentiles of any values are right to 0.1 %, however the values are spread over parts."""

import math

from hypothesis import given
from hypothesis import strategies as st

from chatsvc.bench.histogram import Histogram

VALUES = st.lists(st.one_of(st.integers(0, 5_000), st.integers(0, 2**45)), min_size=1, max_size=200)
SHARES = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5).map(sorted)


def counted(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(VALUES, SHARES)
def test_a_percentile_is_the_value_of_that_rank_to_three_digits(values: list[int], shares: list[float]) -> None:
    ordered = sorted(values)
    for share, found in zip(shares, counted(values).percentiles(shares), strict=True):
        exact = ordered[math.ceil(round(share * len(values), 6)) - 1]
        assert found is not None
        assert exact <= found <= exact * 1.001


@given(VALUES, VALUES)
def test_merged_parts_are_one_histogram(some: list[int], others: list[int]) -> None:
    assert Histogram.merged([counted(some), counted(others)]) == counted(some + others)


def test_nothing_has_no_percentiles() -> None:
    assert Histogram().percentiles([0.5, 0.99]) == [None, None]


def test_the_memory_does_not_grow_with_the_number_of_values() -> None:
    histogram = counted([1_000_000 + number % 50_000 for number in range(200_000)])
    assert histogram.total == 200_000
    assert len(histogram.counts) < 100
