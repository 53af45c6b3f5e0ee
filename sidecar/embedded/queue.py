"""Make a queue in the embedded SQS, and wait until it is empty."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

from sidecar.contract.errors import UnreachableError


def create_queue(sqs_url: str, name: str) -> str:
    """Create a queue; one that exists is left as it is.

    Parameters
    ----------
    sqs_url : str
        Address of the embedded server, which asks nobody for credentials.
    name : str

    Returns
    -------
    str
        The queue's URL.

    Raises
    ------
    UnreachableError
    """
    form = urllib.parse.urlencode(
        {"Action": "CreateQueue", "QueueName": name, "Version": "2012-11-05"}
    )
    request = urllib.request.Request(f"{sqs_url}/", data=form.encode(), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            body = answer.read()
    except OSError as error:
        raise UnreachableError(f"creating the queue {name} at {sqs_url}: {error}") from None
    root = ElementTree.fromstring(body)  # noqa: S314 - our own child process wrote it
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "QueueUrl" and element.text:
            return element.text
    raise UnreachableError(f"creating the queue {name}: unexpected answer {body[:200]!r}")
