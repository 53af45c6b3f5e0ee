"""How long a consumer takes to stop after SIGTERM: idle, busy, and with Elasticsearch not answering.

python bench/updates_stop.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import update_parts as parts
import updates_chaos as chaos


def main() -> None:
    figures = {}
    with parts.servers() as both:
        users, _ = parts.parts(both.elasticsearch_url)
        elasticsearch = parts.binary(both.children[0].pid)
        for state in ("idle", "busy", "Elasticsearch paused"):
            queue = parts.queue(both.sqs_url, "stop")
            parts.fill(queue, parts.bodies(1 if state == "idle" else 4000, 500))
            command = [sys.executable, chaos.__file__, "--consume"]
            child = subprocess.Popen([*command, both.elasticsearch_url, queue.url])
            # At work, or through with the only message.
            while int(queue.check()["ApproximateNumberOfMessages"]) in (1, 4000):
                time.sleep(0.05)
            time.sleep(1)
            if "paused" in state:
                os.kill(elasticsearch, signal.SIGSTOP)
                time.sleep(0.5)
            started = time.monotonic()
            child.terminate()
            code = child.wait(60)
            seconds = round(time.monotonic() - started, 2)
            if "paused" in state:
                os.kill(elasticsearch, signal.SIGCONT)
            figures[state] = {
                "seconds": seconds,
                "exit code": code,
                "left": chaos.state(queue, users),
            }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    parts.leave_nothing_behind()
    main()
