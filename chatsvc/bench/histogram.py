"""Latencies, counted in buckets: any number of them takes the same memory."""

from collections.abc import Iterable

import msgspec

_BITS = 11
"""A bucket is as wide as the eleventh binary digit of its values, so three decimal digits are right."""


class Histogram(msgspec.Struct):
    """How often each value came, to 0.1 % of the value; the buckets are those of an HDR histogram.

    Attributes:
        counts: by the lowest value of a bucket.
    """

    counts: dict[int, int] = {}

    def record(self, value: int) -> None:
        """Count a value, at least 0."""
        shift = value.bit_length() - _BITS
        bucket = value >> shift << shift if shift > 0 else value
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1

    @classmethod
    def merged(cls, parts: Iterable["Histogram"]) -> "Histogram":
        """All values of all parts."""
        counts: dict[int, int] = {}
        for part in parts:
            for bucket, count in part.counts.items():
                counts[bucket] = counts.get(bucket, 0) + count
        return cls(counts)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def percentiles(self, shares: Iterable[float]) -> list[int | None]:
        """The values that these shares of all values do not exceed; None if there are none.

        Args:
            shares: above 0 and at most 1, ascending.
        """
        total = self.total
        if not total:
            return [None for _ in shares]
        buckets = iter(sorted(self.counts.items()))
        found: list[int | None] = []
        bucket = seen = 0
        for share in shares:
            while seen < share * total - 1e-9 * total:
                bucket, count = next(buckets)
                seen += count
            found.append(_highest(bucket))
        return found


def _highest(bucket: int) -> int:
    shift = bucket.bit_length() - _BITS
    return bucket | ((1 << shift) - 1) if shift > 0 else bucket
