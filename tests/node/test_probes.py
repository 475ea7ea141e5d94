"""What a probe finds: nobody, a kernel, a process, itself."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from chatsvc.node import probes as module
from chatsvc.node.probes import ProbeEvent, Probes
from chatsvc.replication.events import Probe, ProbeAccepted, ProbeAnswered, ProbeRefused

MakePeer = Callable[..., Awaitable[Any]]


class Prober:
    """Probes, and what they report."""

    def __init__(self, **settings: int) -> None:
        self.events: asyncio.Queue[ProbeEvent] = asyncio.Queue()
        self.probes = Probes(self.events.put_nowait, **settings)

    async def next(self) -> ProbeEvent:
        async with asyncio.timeout(5):
            return await self.events.get()

    async def over(self) -> None:
        async with asyncio.timeout(5):
            while self.probes._tasks:
                await asyncio.wait(self.probes._tasks)


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    prober = Prober()
    yield prober
    await prober.probes.close()


@pytest.fixture
def silent() -> Any:
    """A listening socket that nobody accepts from."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener


def address_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def free_address() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return address_of(unused)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_where_nobody_listens_a_probe_is_refused(prober: Prober, host: str) -> None:
    if host == "[::1]" and not socket.has_ipv6:
        pytest.skip("no IPv6")
    probe = Probe(host + free_address().removeprefix("127.0.0.1"), 7, 1_000)
    prober.probes.start([probe])
    assert await prober.next() == ProbeRefused(probe)


async def test_a_process_is_accepted_then_says_who_it_is(prober: Prober, make_peer: MakePeer) -> None:
    peer = await make_peer("p")
    probe = Probe(peer.address, 7, 1_000)
    prober.probes.start([probe])
    assert await prober.next() == ProbeAccepted(probe)
    assert await prober.next() == ProbeAnswered(probe, peer.identity)


async def test_a_process_that_does_not_accept_is_accepted_by_its_kernel_only(silent: socket.socket) -> None:
    prober = Prober(rpc_ms=100)
    probe = Probe(address_of(silent), 7, 1_000)
    prober.probes.start([probe])
    assert await prober.next() == ProbeAccepted(probe)
    await prober.over()
    assert prober.events.empty()


async def test_a_hung_process_is_probed_again_while_a_question_is_open(prober: Prober, silent: socket.socket) -> None:
    for number in range(5):
        probe = Probe(address_of(silent), number, 1_000)
        prober.probes.start([probe])
        assert await prober.next() == ProbeAccepted(probe)
    silent.setblocking(False)
    assert len(prober.probes._asking) == 1


async def test_two_probes_of_one_address_are_never_under_way(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    connects = 0
    release, both = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> bool:
        nonlocal connects
        connects += 1
        if connects == 2:
            both.set()
        await release.wait()
        return False

    monkeypatch.setattr(module, "_accepts", hang)
    prober.probes.start([Probe("127.0.0.1:1", 1, 0), Probe("127.0.0.1:1", 2, 0), Probe("127.0.0.1:2", 3, 0)])
    await both.wait()
    release.set()
    results = [await prober.next(), await prober.next()]
    await prober.over()
    assert {event.probe.number for event in results} == {1, 3}
    assert connects == 2


async def test_a_connect_that_hangs_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    prober = Prober(rpc_ms=20)

    async def hang(*_: object) -> bool:
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr(module, "_accepts", hang)
    prober.probes.start([Probe("127.0.0.1:1", 1, 0)])
    await prober.over()
    assert prober.events.empty()


async def test_a_connect_that_meets_itself_is_refused(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    address = free_address()
    port = int(address.rpartition(":")[2])

    class Bound(socket.socket):
        """Calls from the very port that it will dial."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.bind(("127.0.0.1", port))

    monkeypatch.setattr(module.socket, "socket", Bound)
    probe = Probe(address, 7, 1_000)
    accepted = await module._accepts(socket.AF_INET, ("127.0.0.1", port))
    assert accepted is False
    prober.probes.start([probe])
    assert await prober.next() == ProbeRefused(probe)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "127.0.0.1:http",
        "127.0.0.1:99999",
        "127.0.0.1:0",
        ":1",
        "no.such.host.invalid:1",
        "a" * 70 + ":1",
    ],
)
async def test_an_address_that_is_none_is_nothing(prober: Prober, address: str) -> None:
    prober.probes.start([Probe(address, 1, 0)])
    await prober.over()
    assert prober.events.empty()


async def test_probes_are_bounded(silent: socket.socket) -> None:
    prober = Prober(under_way_max=1)
    first = Probe(address_of(silent), 1, 0)
    prober.probes.start([first, Probe(free_address(), 2, 0)])
    assert await prober.next() == ProbeAccepted(first)
    await prober.probes.close()
    assert prober.events.empty()


async def test_nothing_is_reported_after_close(silent: socket.socket) -> None:
    prober = Prober()
    prober.probes.start([Probe(address_of(silent), 1, 0)])
    await prober.probes.close()
    assert prober.events.empty()
