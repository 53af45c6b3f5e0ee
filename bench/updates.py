"""What an event costs, how long it takes, how many go through: the update path, measured.

    python bench/updates.py                        everything but the chaos run: about ten minutes
    python bench/updates.py cpu latency            some of it
    python bench/updates.py throughput --events 50000 --shoppers 5000
    python bench/updates.py --json figures.json

The chaos run is bench/updates_chaos.py. The embedded servers share the machine's cores with the
sidecar and are no measure of a real cluster; the stub of Elasticsearch stores bytes and parses
none, to show what the sidecar itself can do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import update_parts as parts

from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.updates.consumer import Consumer, Timing
from sidecar.updates.handler import BatchHandler
from sidecar.updates.metrics import UpdateMetrics
from sidecar.updates.settings import UpdateSettings


class Warm:
    """Product vectors that are all in memory, for the stub that has no products."""

    def __init__(self, products: ProductVectors, count: int) -> None:
        space = parts.tower().weights.product_space
        self._vectors = products.get([f"p{i}" for i in range(count)], space)
        assert len(self._vectors) == count

    def get(self, product_ids: Any, space: str) -> dict[str, Any]:
        return {one: self._vectors[one] for one in product_ids if one in self._vectors}


class Timed:
    """Users with the time that passed inside them: waiting for Elasticsearch, mostly."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self.wall = self.cpu = 0.0

    def _timed(self, call: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return call()
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.thread_time() - cpu

    def get_many(self, ids: Sequence[str], *, vectors: bool = True) -> Any:
        return self._timed(lambda: self._users.get_many(ids, vectors=vectors))

    def put_many(self, users: Any) -> Any:
        return self._timed(lambda: self._users.put_many(users))

    def scan(self, *args: Any, **kwargs: Any) -> Any:
        return self._users.scan(*args, **kwargs)


def cpu(options: argparse.Namespace) -> dict[str, Any]:
    """The sidecar's own processor time for an event: parse, merge, tower, JSON, sockets."""
    with parts.servers() as both, parts.stub_elasticsearch() as (url, _):
        _, products = parts.parts(both.elasticsearch_url)
        warm = Warm(products, 1000)
        users, _ = parts.opened(url)
        tower = parts.tower()
        vocabulary = tower.weights.metadata.vocabulary
        handler = BatchHandler(users, warm, lambda: tower, vocabulary)
        rng = random.Random(1)
        texts = parts.bodies(1000 * 24, 1000)
        for start in range(0, len(texts), 500):
            assert not handler.handle(parts.received(texts[start : start + 500])).again
        histories = [
            len(u.history) for u in users.get_many([f"c{i}" for i in range(1000)]).values()
        ]
        runs = []
        for batch_number in range(options.batches):
            shoppers = rng.sample(range(1000), 100)
            batch = []
            for i, shopper in enumerate(shoppers):
                event = json.loads(texts[i])
                event |= {"customer_id": f"c{shopper}", "event_id": f"n{batch_number}-{i}",
                          "timestamp": time.time()}  # fmt: skip
                batch.append(json.dumps(event))
            messages = parts.received(batch)
            before = time.thread_time()
            handled = handler.handle(messages)
            runs.append((time.thread_time() - before) / len(messages) * 1e3)
            assert len(handled.stored) == 100
        return {
            "interactions in a history, median": statistics.median(histories),
            "own CPU for each event, ms, median of batches of 100": statistics.median(runs),
            "p90": statistics.quantiles(runs, n=10)[-1],
        }


def latency(options: argparse.Namespace) -> dict[str, Any]:
    """From a message's receipt to its stored vector, ten messages a second."""
    with parts.servers() as both:
        users, products = parts.parts(both.elasticsearch_url)
        queue = parts.queue(both.sqs_url, "latency")
        timings: list[Timing] = []
        with consuming(queue, users, products, timings.append):
            for text in parts.bodies(options.messages, 200):
                parts.fill(queue, [text])
                time.sleep(0.1)
            wait(lambda: len(timings) >= options.messages)
        own = [(t.stored_at - t.received_at) / 1e3 for t in timings[10:]]
        whole = [(t.stored_at - t.sent_at) / 1e3 for t in timings[10:]]
        return {
            "receive to stored, ms, p50": statistics.median(own),
            "receive to stored, ms, p95": statistics.quantiles(own, n=20)[-1],
            "sent to stored, ms, p50": statistics.median(whole),
        }


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Events a second through one process, with the embedded servers and with stubs."""
    figures: dict[str, Any] = {}
    count, shoppers = options.events, options.shoppers
    with parts.servers() as both, parts.stub_elasticsearch() as (stub_url, stub_pid):
        elasticsearch, sqs = (parts.binary(child.pid) for child in both.children)
        users, products = parts.parts(both.elasticsearch_url)
        warm = Warm(products, 1000)
        stub_users, _ = parts.opened(stub_url)
        for name, theirs, vectors, server in (
            ("embedded servers", users, products, {"Elasticsearch": elasticsearch}),
            ("embedded SQS, stub of Elasticsearch", stub_users, warm, {"stub": stub_pid}),
        ):
            if name.startswith(options.only):
                queue = parts.queue(both.sqs_url, "throughput")
                with parts.feeder(queue, count, shoppers):
                    figures[name] = flow(queue, theirs, vectors, count, server | {"SQS": sqs})
    if "stubs of both".startswith(options.only):
        with parts.stub_elasticsearch() as (stub_url, stub_pid):
            users, _ = parts.opened(stub_url)
            stub = parts.StubQueue(parts.bodies(count, shoppers))
            figures["stubs of both"] = flow(stub, users, warm, count, {"stub": stub_pid})
    return figures


def flow(
    queue: Any, users: Users, products: Any, count: int, others: dict[str, int]
) -> dict[str, Any]:
    """Run until so many messages are stored."""
    timed = Timed(users)
    stored = [0]

    def on_stored(_: Timing) -> None:
        stored[0] += 1

    theirs = {name: parts.cpu_of(pid) for name, pid in others.items()}
    started, own = time.perf_counter(), time.process_time()
    with consuming(queue, timed, products, on_stored) as metrics:
        wait(lambda: stored[0] >= count)
        elapsed, own = time.perf_counter() - started, time.process_time() - own
    return {
        "events a second": count / elapsed,
        "own CPU for each event, ms (receiving and deleting included)": own / count * 1e3,
        "share of the time in which the writer waits for Elasticsearch": (timed.wall - timed.cpu)
        / elapsed,
        "messages in a batch, mean": value(metrics, "sidecar_batch_messages_sum")
        / value(metrics, "sidecar_batch_messages_count"),
        "load of the machine": os.getloadavg()[0],
        "cores used by": {"sidecar": own / elapsed}
        | {name: (parts.cpu_of(pid) - theirs[name]) / elapsed for name, pid in others.items()},
    }


def value(metrics: UpdateMetrics, name: str) -> float:
    """A sample of a metric."""
    samples = (sample for family in metrics.batch.collect() for sample in family.samples)
    return next(sample.value for sample in samples if sample.name == name)


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory while many events pass."""
    with parts.servers() as both:
        users, products = parts.parts(both.elasticsearch_url)
        queue = parts.queue(both.sqs_url, "memory")
        stored = [0]

        def on_stored(_: Timing) -> None:
            stored[0] += 1

        seen: list[tuple[int, float]] = []
        count, step = options.memory_events, 5_000
        feeding = parts.feeder(queue, count, options.shoppers)
        with feeding, consuming(queue, users, products, on_stored):
            for reached in range(step, count + 1, step):
                wait(lambda reached=reached: stored[0] >= reached)  # type: ignore[misc]
                seen.append((stored[0], parts.Memory.now()))
                say(f"  {stored[0]} events, {seen[-1][1]:.1f} MB")
        # The first five thousand fill caches and pools.
        figures = {"events": stored[0], "MB at the start": seen[1][1]}
        figures |= {"MB in the middle": seen[len(seen) // 2][1], "MB at the end": seen[-1][1]}
        return figures


class consuming:  # noqa: N801 - used as a function
    """A consumer in a thread, for the time of a with block."""

    def __init__(self, queue: Any, users: Any, products: Any, on_stored: Any) -> None:
        tower = parts.tower()
        self._stop = threading.Event()
        self._metrics = UpdateMetrics()
        settings = UpdateSettings(wait_s=1)
        consumer = Consumer(queue, users, products, lambda: tower,
                            tower.weights.metadata.vocabulary, settings, on_stored=on_stored,
                            metrics=self._metrics)  # fmt: skip
        self._thread = threading.Thread(target=consumer.run, args=(self._stop,))

    def __enter__(self) -> UpdateMetrics:
        self._thread.start()
        return self._metrics

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def wait(condition: Callable[[], bool], seconds: float = 1800) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            sys.exit("it took too long")
        time.sleep(0.01)


def say(text: str) -> None:
    """A line for the person who watches."""
    print(text, file=sys.stderr, flush=True)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "cpu": cpu,
    "latency": latency,
    "throughput": throughput,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--shoppers", type=int, default=5_000)
    parser.add_argument("--only", default="", help="throughput with these servers: 'embedded s'")
    parser.add_argument("--memory-events", type=int, default=200_000)
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    figures: dict[str, Any] = {"load at the start": os.getloadavg()[0]}
    for name in options.parts:
        say(f"{name} ...")
        figures[name] = PARTS[name](options)
        print(json.dumps({name: figures[name]}, indent=1), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    parts.leave_nothing_behind()
    main()
