"""gunicorn's threaded worker, with patience for slow clients that does not cost threads."""

from __future__ import annotations

import errno
import time
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers import gthread

#: Seconds that a client may be silent in the middle of a body or an answer.
PATIENCE_S = 60.0
#: The same in the middle of a request's head, which comes in one piece from every honest client.
HEAD_PATIENCE_S = 5.0


class Connection(gthread.TConn):  # type: ignore[misc]
    """A connection whose reads and writes end some time."""

    def init(self) -> None:
        """Called at the start of each request, when the socket has just been made blocking."""
        super().init()
        self.sock.settimeout(HEAD_PATIENCE_S)


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """A new connection gets a thread when it has sent something, and not before.

    gunicorn hands a new connection to a thread at once, which then waits for five seconds: a few
    clients that connect ahead of need would hold up everybody.
    """

    def accept(self, listener: Any) -> None:
        """Take a connection, and wait for it with all the others that are idle."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        connection = Connection(self.cfg, sock, address, listener.getsockname())
        connection.timeout = time.monotonic() + self.cfg.keepalive
        self.pending_conns.append(connection)
        self.poller.register(sock, EVENT_READ, partial(self.on_pending_socket_readable, connection))

    def handle_request(self, req: Any, conn: Any) -> Any:
        """The head is there: now the body, and the answer, have more time."""
        conn.sock.settimeout(PATIENCE_S)
        return super().handle_request(req, conn)
