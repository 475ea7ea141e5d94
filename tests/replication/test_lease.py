from chatsvc.replication.identity import Epoch
from chatsvc.replication.lease import Lease

EPOCH = Epoch(2, 0, b"p")
LENGTH = 4_500


def leased() -> Lease:
    lease = Lease()
    lease.ack_sent(1, now=1_000)
    lease.ack_sent(2, now=1_050)
    lease.renew(1, LENGTH, b"p", EPOCH, entitled=True)
    return lease


def test_a_lease_runs_from_the_sending_of_the_ack_that_the_primary_has_seen() -> None:
    lease = leased()
    assert lease.runs(1_000 + LENGTH - 1)
    assert not lease.runs(1_000 + LENGTH)


def test_an_ack_of_another_stream_gives_no_lease() -> None:
    lease = Lease()
    lease.ack_sent(1, now=1_000)
    lease.new_stream()
    lease.renew(1, LENGTH, b"p", EPOCH, entitled=True)
    assert not lease.runs(1_000)


def test_an_append_without_in_sync_gives_no_lease() -> None:
    lease = Lease()
    lease.ack_sent(1, now=1_000)
    lease.renew(1, LENGTH, b"p", EPOCH, entitled=False)
    assert not lease.runs(1_000)


def test_a_lease_is_never_shortened_by_a_late_append() -> None:
    lease = leased()
    lease.renew(2, LENGTH, b"p", EPOCH, entitled=True)
    lease.renew(1, LENGTH, b"p", EPOCH, entitled=True)
    assert lease.until == 1_050 + LENGTH


def test_a_renewal_forgets_whom_its_holder_has_granted() -> None:
    lease = leased()
    lease.granted_to.add(b"c")
    lease.renew(2, LENGTH, b"p", EPOCH, entitled=True)
    assert lease.granted_to == set()


def test_a_void_lease_names_no_epoch() -> None:
    lease = leased()
    lease.void()
    assert lease.epoch is None
    assert not lease.runs(0)
