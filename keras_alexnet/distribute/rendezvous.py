"""Rendezvous of the workers before TensorFlow starts, which would wait without a message and ignore signals.

Each worker connects to worker 0 at the address that TensorFlow is going to use, and continues once all have connected.
"""

import contextlib
import socket
import time
from collections.abc import Sequence

_REMIND_S, _CONNECT_S = 30.0, 2.0
_GO = b"go"


def wait_for_all(addresses: Sequence[str], index: int) -> None:
    """Waits until all workers have called it; returns in all of them at about the same time.

    There is no time limit. The missing workers are printed every half minute. Signals act as usual.

    Args:
      addresses: host:port of each worker, the chief first.
      index: index of this process in `addresses`.

    Raises:
      ValueError: an address is not host:port, or worker 0 cannot listen on its port.
    """
    for address in addresses:
        _host_and_port(address)
    if index == 0:
        _wait_for_workers(addresses)
    else:
        _wait_for_chief(addresses, index)


def is_listening(address: str) -> bool:
    """Whether a process listens on host:port."""
    try:
        with socket.create_connection(_host_and_port(address), _CONNECT_S):
            return True
    except OSError:
        return False


def _wait_for_workers(addresses: Sequence[str]) -> None:
    _, port = _host_and_port(addresses[0])
    try:
        dual = socket.has_dualstack_ipv6()
        listener = socket.create_server(
            ("", port), family=socket.AF_INET6 if dual else socket.AF_INET, dualstack_ipv6=dual
        )
    except OSError as error:
        raise ValueError(f"strategy=multiworker: worker 0 cannot listen at {addresses[0]}: {error.strerror}") from None
    reminder = _Reminder(f"worker 0 of {len(addresses)} ({addresses[0]})")
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        listener.settimeout(0.5)
        connected: dict[int, socket.socket] = {}
        while len(connected) < len(addresses) - 1:
            reminder.waits_for([address for i, address in enumerate(addresses[1:], 1) if i not in connected])
            with contextlib.suppress(OSError, ValueError):  # no connection in time, or not from a worker
                connection = stack.enter_context(listener.accept()[0])
                connection.settimeout(_CONNECT_S)
                connected[int(connection.recv(16))] = connection
                connection.setblocking(False)
            connected = {
                i: connection for i, connection in connected.items() if 0 < i < len(addresses) and _is_open(connection)
            }
        for connection in connected.values():
            connection.settimeout(_CONNECT_S)
            connection.sendall(_GO)
        for connection in connected.values():
            # The worker closes first, so that the port is free for TensorFlow at once.
            with contextlib.suppress(OSError):
                connection.recv(1)


def _wait_for_chief(addresses: Sequence[str], index: int) -> None:
    reminder = _Reminder(f"worker {index} of {len(addresses)} ({addresses[index]})")
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(_host_and_port(addresses[0]), _CONNECT_S) as connection,
        ):
            connection.sendall(str(index).encode())
            connection.settimeout(_REMIND_S)
            if connection.recv(len(_GO)) == _GO:
                return
        reminder.waits_for([f"worker 0 ({addresses[0]}), which prints the workers that it waits for"])
        time.sleep(0.2)


class _Reminder:
    """Prints which workers `name` waits for: after two seconds, and then every half minute."""

    def __init__(self, name: str):
        self._name, self._due = name, time.monotonic() + 2

    def waits_for(self, missing: Sequence[str]) -> None:
        if time.monotonic() > self._due:
            print(f"{self._name}: waiting for {', '.join(missing)}", flush=True)
            self._due = time.monotonic() + _REMIND_S


def _is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"strategy=multiworker: found the address {address!r} in TF_CONFIG; expected host:port")
    return host.strip("[]"), int(port)
