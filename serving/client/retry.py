"""Which failed attempts of a request are sent again, and when."""

import random
import re
import time
from collections.abc import Callable

import grpc

# A server that is starting, or a full queue, is UNAVAILABLE.
ATTEMPTS = 3
BACKOFF_S = (0.5, 1.0)

# All threads of TensorFlow Serving, or of the embedded server, are taken. Requests that are too long have the same code
# and are not sent again.
_BUSY = re.compile("Threadpool Exhausted|Concurrent RPC limit exceeded", re.IGNORECASE)
_BUSY_BACKOFF_S = (0.1, 2.0)  # the first delay, and the longest


class Retry:
    """The attempts of one request, within its deadline.

    UNAVAILABLE is sent again twice. RESOURCE_EXHAUSTED of a server whose threads are all taken is sent again until the
    deadline, with exponential backoff. Delays vary by a fifth, so that clients do not return together.

    Args:
        timeout_s: seconds for all attempts together.
        clock: seconds, monotonic.
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._deadline = clock, clock() + timeout_s
        self._failures = 0

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, at least a millisecond."""
        return max(self._deadline - self._clock(), 0.001)

    def delay_s(self, code: grpc.StatusCode, details: str | None) -> float | None:
        """Records a failed attempt. Returns the seconds to wait before the next one, or None if there is none."""
        delay = None
        if code == grpc.StatusCode.UNAVAILABLE and self._failures < ATTEMPTS - 1:
            delay = BACKOFF_S[self._failures]
        elif code == grpc.StatusCode.RESOURCE_EXHAUSTED and _BUSY.search(details or ""):
            first, longest = _BUSY_BACKOFF_S
            delay = min(first * 2 ** min(self._failures, 10), longest)
        self._failures += 1
        if delay is None:
            return None
        delay *= random.uniform(0.8, 1.2)
        return delay if self._clock() + delay < self._deadline else None
