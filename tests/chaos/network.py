"""A network between servers that can be cut, link by link, in each direction.

Every server has a network namespace of its own, and this process is the machine of the clients. Kernels do what
kernels do: a dead process's port refuses, a hung one's accepts, and a cut is silence, for connections that are open
and for new ones. A link from one machine to another is cut at its beginning: the sender's neighbour table gets a
hardware address that nobody has.
"""

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from itertools import permutations
from struct import Struct
from threading import Thread

INSIDE = "CHATSVC_CHAOS_INSIDE"
"""Set in a process that may make namespaces and mounts of its own."""

CLIENTS = "clients"

_PREFIX = "10.77.0."
_NOBODY = "02:00:00:00:ff:ff"
_DATAGRAMS = 9  # the port of datagrams that show whether a link is there

# rtnetlink(7)
_HEADER, _NEIGHBOUR, _ATTRIBUTE = Struct("=IHHII"), Struct("=Bxxxi HBB"), Struct("=HH")
_RTM_NEWNEIGH, _NDA_DST, _NDA_LLADDR, _NUD_PERMANENT = 28, 1, 2, 0x80
_REPLACE = 0x1 | 0x4 | 0x100 | 0x400  # a request, with acknowledgement; replace or create

_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)

Link = tuple[str, str]
"""From one machine to another."""

_UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")


def enter() -> None:
    """Run this program again where it may make networks and mounts, which end with it; returns if that is no use.

    Afterwards `INSIDE` is in the environment if it may.
    """
    if INSIDE in os.environ:
        return
    try:
        tried = subprocess.run(
            [*_UNSHARE, "--mount-proc", "sh", "-ec", "ip link add type veth; mount -t tmpfs tmpfs /mnt"],
            capture_output=True,
            check=False,
        )
    except OSError:
        return
    if tried.returncode:
        return
    os.environ[INSIDE] = "1"
    os.execvp(_UNSHARE[0], [*_UNSHARE, "--mount-proc", sys.executable, "-m", "tests.chaos", *sys.argv[1:]])


class _Machine:
    """One end of the links: sockets that belong to it, whoever uses them.

    Attributes:
        namespace: descriptor of its network; -1: this process's.
    """

    def __init__(self, host: str, mac: str, device: str, namespace: int) -> None:
        self.host, self.mac, self.namespace = host, mac, namespace
        thread = Thread(target=self._open, args=(device,))
        thread.start()
        thread.join()

    def _open(self, device: str) -> None:
        """In a thread, for only that enters the namespace."""
        if self.namespace >= 0 and _libc.setns(self.namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        self._device = socket.if_nametoindex(device)
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind((self.host, _DATAGRAMS))

    def set_neighbour(self, host: str, mac: str) -> None:
        """Whom this machine addresses when it sends to that host: `ip neigh replace`."""
        attributes = _ATTRIBUTE.pack(8, _NDA_DST) + socket.inet_aton(host)
        attributes += _ATTRIBUTE.pack(10, _NDA_LLADDR) + bytes.fromhex(mac.replace(":", "")) + bytes(2)
        body = _NEIGHBOUR.pack(socket.AF_INET, self._device, _NUD_PERMANENT, 0, 0) + attributes
        self._kernel.send(_HEADER.pack(_HEADER.size + len(body), _RTM_NEWNEIGH, _REPLACE, 1, 0) + body)
        answer = self._kernel.recv(4096)
        error = int.from_bytes(answer[_HEADER.size : _HEADER.size + 4], sys.byteorder, signed=True)
        if error:
            raise OSError(-error, f"the neighbour {host} could not be set: {os.strerror(-error)}")


class Network:
    """Machines with a link between any two of them, and one for the clients: this one.

    Args:
        names: of the machines.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.hosts = {name: f"{_PREFIX}{number}" for number, name in enumerate(names, 1)} | {CLIENTS: f"{_PREFIX}254"}
        _run("ip link set lo up")
        _run(f"ip link add hub address {_mac(254)} type bridge")
        _run(f"ip addr add {self.hosts[CLIENTS]}/24 dev hub")
        _run("ip link set hub up")
        self._machines = {CLIENTS: _Machine(self.hosts[CLIENTS], _mac(254), "hub", -1)}
        for number, name in enumerate(names, 1):
            keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; read line"], stdin=-1, stdout=-1)
            assert keeper.stdin is not None
            assert keeper.stdout is not None
            keeper.stdout.readline()
            namespace = os.open(f"/proc/{keeper.pid}/ns/net", os.O_RDONLY)
            _run(f"ip link add up-{name} type veth peer name eth0 address {_mac(number)} netns {keeper.pid}")
            _run(f"ip link set up-{name} master hub up")
            keeper.stdin.close()
            keeper.wait()
            within = f"nsenter --net=/proc/{os.getpid()}/fd/{namespace} -- ip"
            _run(f"{within} link set lo up")
            _run(f"{within} addr add {self.hosts[name]}/24 dev eth0")
            _run(f"{within} link set eth0 up")
            self._machines[name] = _Machine(self.hosts[name], _mac(number), "eth0", namespace)
        self.mend(*permutations(self.hosts, 2))

    def prefix(self, name: str) -> list[str]:
        """The command that runs a program on that machine."""
        return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{self._machines[name].namespace}", "--"]

    def cut(self, *links: Link) -> None:
        """From now on nothing gets from the first machine to the second."""
        for sender, receiver in links:
            self._machines[sender].set_neighbour(self.hosts[receiver], _NOBODY)

    def mend(self, *links: Link) -> None:
        """It does again."""
        for sender, receiver in links:
            self._machines[sender].set_neighbour(self.hosts[receiver], self._machines[receiver].mac)

    def slow(self, name: str, kilobits: int) -> None:
        """What this machine sends has so little room a second, and a queue of 300 ms; 0: as much as it wants."""
        command = "tc qdisc del dev eth0 root"
        if kilobits:
            command = f"tc qdisc replace dev eth0 root tbf rate {kilobits}kbit burst 4k latency 300ms"
        _run(" ".join([*self.prefix(name), command]))

    def reaches(self, link: Link) -> bool:
        """Whether a datagram gets from the first machine to the second within 50 ms."""
        sender, receiver = (self._machines[name] for name in link)
        word = os.urandom(8)
        sender.datagrams.sendto(word, (receiver.host, _DATAGRAMS))
        receiver.datagrams.settimeout(0.05)
        try:
            while receiver.datagrams.recv(64) != word:
                pass  # one that was late
        except TimeoutError:
            return False
        return True


def both_ways(one: str, *others: str) -> list[Link]:
    """All links between one machine and others."""
    return [link for other in others for link in ((one, other), (other, one))]


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)
