"""Kill, pause, duplicate, shuffle, and compare with an oracle: nothing lost, nothing doubled.

    python bench/updates_chaos.py                     about three minutes
    python bench/updates_chaos.py --messages 2000 --kills 5 --pauses 1 --pause-seconds 3

Two consumers, each a process of its own, take events from the embedded SQS. They are killed with
SIGKILL in turn, at random moments, and started again at once; Elasticsearch is stopped (SIGSTOP)
now and then. In the end every shopper's history and vector must equal what one pass over all
events, without any server, makes of them. No history is long enough to be cut off, so that a lost
event shows. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import update_parts as parts

from sidecar.contract.history import Interaction, merge
from sidecar.contract.messages import parse_message
from sidecar.elastic.users import User, Users
from sidecar.updates.batch import with_vectors
from sidecar.updates.consumer import Consumer
from sidecar.updates.settings import UpdateSettings
from sidecar.updates.sqs import Queue

MERGED = 100
PRODUCTS = 1000


def consume(elasticsearch_url: str, queue_url: str) -> None:
    """What a consumer process runs."""
    users, products = parts.opened(elasticsearch_url)
    tower = parts.tower()
    # The shortest visibility there is: what a killed consumer had is soon there again.
    settings = UpdateSettings(visibility_s=10, wait_s=1)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    vocabulary = tower.weights.metadata.vocabulary
    Consumer(Queue(queue_url), users, products, lambda: tower, vocabulary, settings).run(stop)


class Consumers:
    """Consumer processes, each started again when it is killed."""

    def __init__(self, count: int, elasticsearch_url: str, queue_url: str) -> None:
        self._command = [sys.executable, __file__, "--consume", elasticsearch_url, queue_url]
        self._processes = [self._start() for _ in range(count)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command)

    def kill(self, number: int) -> None:
        """SIGKILL, and a new one in its place."""
        process = self._processes[number % len(self._processes)]
        process.kill()
        process.wait()
        self._processes[number % len(self._processes)] = self._start()

    def stop(self) -> list[int]:
        """SIGTERM for all; their exit codes."""
        for process in self._processes:
            process.terminate()
        return [process.wait(30) for process in self._processes]


def events(count: int, shoppers: int, seed: int) -> list[str]:
    """Events with identities, and anonymous shoppers who turn out to be known ones."""
    texts = parts.bodies(count - 2 * MERGED, shoppers, PRODUCTS, seed)
    for i in range(MERGED):
        previous = f"anonymous-{i}"
        texts.append(json.dumps(json.loads(texts[i])
                                | {"customer_id": previous, "event_id": f"a{i}"}))  # fmt: skip
        texts.append(json.dumps({"event_name": "user_merged", "customer_id": f"c{i}",
                                 "previous_id": previous}))  # fmt: skip
    return texts


def oracle(texts: list[str], products: Any) -> dict[str, User]:
    """One pass, no server."""
    tower = parts.tower()
    metadata = tower.weights.metadata
    own: dict[str, list[Interaction]] = {}
    becomes: dict[str, str] = {}
    for text in texts:
        parsed = parse_message(
            text, message_id="-", sent_at=time.time_ns() // 1000, vocabulary=metadata.vocabulary
        )
        for event in parsed.events:
            own.setdefault(event.customer_id, []).append(event.interaction)
        for one in parsed.merges:
            becomes[one.previous_id] = one.customer_id
    for previous, customer in becomes.items():
        own.setdefault(customer, []).extend(own[previous])
    users = [
        User(name, merge(mine, limits=metadata.limits),
             merged_into=(becomes[name],) if name in becomes else ())
        for name, mine in own.items()
    ]  # fmt: skip
    vectors = products.get([f"p{i}" for i in range(PRODUCTS)], tower.weights.product_space)
    made = with_vectors(users, vectors, tower, metadata.vocabulary, 0)
    return {user.customer_id: user for user in made}


def differences(found: dict[str, User], expected: dict[str, User]) -> dict[str, int]:
    """What is not as it should be; all zero when nothing is."""
    counts = dict.fromkeys(
        ("shoppers missing", "shoppers too many", "lost", "doubled", "foreign", "vectors"), 0
    )
    counts["shoppers missing"] = len(expected.keys() - found.keys())
    counts["shoppers too many"] = len(found.keys() - expected.keys())
    for name in expected.keys() & found.keys():
        # When the queue took a message is not the oracle's to know.
        mine = [i[:4] for i in found[name].history]
        wanted = [i[:4] for i in expected[name].history]
        counts["lost"] += len(set(wanted) - set(mine))
        counts["foreign"] += len(set(mine) - set(wanted))
        counts["doubled"] += len(mine) - len({i[1] for i in mine})
        one, other = found[name].vector, expected[name].vector
        same = one is not None and other is not None and np.abs(one - other).max() < 1e-5
        counts["vectors"] += not same
    return counts


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """A process that does not answer, and loses nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def run(options: argparse.Namespace) -> dict[str, Any]:
    rng = random.Random(options.seed)
    unique = events(options.messages, max(10, options.messages // 5), options.seed)
    deliveries = unique + rng.sample(unique, int(len(unique) * 0.15))
    rng.shuffle(deliveries)
    with parts.servers() as both:
        elasticsearch = parts.binary(both.children[0].pid)
        users, products = parts.parts(both.elasticsearch_url, PRODUCTS)
        queue = parts.queue(both.sqs_url, "chaos")
        expected = oracle(unique, products)
        assert max(len(user.history) for user in expected.values()) < 20
        started = time.monotonic()
        consumers = Consumers(2, both.elasticsearch_url, queue.url)
        feeding = threading.Thread(target=feed, args=(queue, deliveries))
        feeding.start()
        pauses = sorted(rng.sample(range(options.kills), options.pauses))
        for number in range(options.kills):
            time.sleep(rng.uniform(0.5, 4.0))
            if number in pauses:
                with paused(elasticsearch):
                    say(f"Elasticsearch paused for {options.pause_seconds} s")
                    time.sleep(options.pause_seconds / 2)
                    # Killed while it waits for an answer, too.
                    consumers.kill(number)
                    time.sleep(options.pause_seconds / 2)
            else:
                consumers.kill(number)
            say(f"killed {number + 1}, {state(queue, users)}")
        feeding.join()
        while not empty(queue):
            time.sleep(1)
            say(state(queue, users))
        elapsed = time.monotonic() - started
        codes = consumers.stop()
        users.refresh()
        found = {user.customer_id: user for user in users.scan()}
    return {
        "events": len(unique),
        "messages": len(deliveries),
        "kills": options.kills,
        "pauses": options.pauses,
        "seconds": round(elapsed, 1),
        "exit codes after SIGTERM": codes,
        "interactions": sum(len(user.history) for user in found.values()),
        "differences": differences(found, expected),
    }


def feed(queue: Queue, texts: list[str]) -> None:
    for start in range(0, len(texts), 200):
        while int(queue.check()["ApproximateNumberOfMessages"]) > 1000:
            time.sleep(0.05)
        parts.fill(queue, texts[start : start + 200])


def empty(queue: Queue) -> bool:
    waiting = queue.check()
    return not any(
        int(waiting[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible")
    )


def state(queue: Queue, users: Users) -> str:
    waiting = queue.check()
    return (
        f"{waiting['ApproximateNumberOfMessages']} waiting, "
        f"{waiting['ApproximateNumberOfMessagesNotVisible']} hidden, {users.count()} shoppers"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pauses", type=int, default=2)
    parser.add_argument("--pause-seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--consume", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.consume:
        consume(*options.consume)
        return
    figures = run(options)
    print(json.dumps(figures, indent=1))
    if any(figures["differences"].values()) or any(figures["exit codes after SIGTERM"]):
        sys.exit(1)


if __name__ == "__main__":
    parts.leave_nothing_behind()
    main()
