"""A consumer as a process of its own, for tests that kill it: arguments are its addresses."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sidecar.elastic.client import connect
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.updates.consumer import Consumer
from sidecar.updates.settings import UpdateSettings
from sidecar.updates.sqs import Queue
from updates.oracle import DIMENSION, TOWER, VOCABULARY


def main(elasticsearch_url: str, endpoint: str, queue_url: str, prefix: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    print("ready", flush=True)
    client = connect(elasticsearch_url, timeout_s=5)
    Consumer(
        Queue(queue_url, region="us-east-1", endpoint_url=endpoint),
        Users(client, f"{prefix}-users"),
        ProductVectors(client, [f"{prefix}-products"], dimension=DIMENSION),
        lambda: TOWER,
        VOCABULARY,
        UpdateSettings(visibility_s=10, wait_s=1, batch_size=20, backoff_cap_ms=500),
    ).run(stop)


main(*sys.argv[1:])
