"""The only boto3 code: one queue, and its errors in the project's two families."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from sidecar.contract.errors import ConfigError, RefusedError, UnreachableError
from sidecar.tracing import TRACEPARENT
from sidecar.updates.envelopes import (
    DETAIL,
    MAX_BATCH,
    MESSAGE_ID,
    REASON,
    SENT_AT,
    Outgoing,
    Received,
    chunks,
    received,
)

#: Codes that say "later", beside every 5xx.
_LATER = re.compile(r"Throttl|OverLimit|TooManyRequests|Unavailable|Timeout|Internal")
_MISSING = re.compile(r"NonExistentQueue|QueueDoesNotExist")
_CREDENTIALS = re.compile(r"ExpiredToken|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNot")


class Queue:
    """One SQS queue, standard or FIFO. Safe to share between threads.

    Parameters
    ----------
    url : str
        The queue's URL. A queue of another host than AWS's own is asked there, unless boto3's
        own settings (``AWS_ENDPOINT_URL_SQS``) say otherwise.
    region, endpoint_url : str, optional
        Where boto3's own settings and the URL do not tell.
    max_connections : int
        At least as many as threads that use the queue at the same time.
    setting : str
        Where the URL comes from, for messages.

    Raises
    ------
    ConfigError
        For a URL that cannot be one, or without any region.
    """

    def __init__(
        self,
        url: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        max_connections: int = 16,
        setting: str = "SIDECAR_SQS_QUEUE_URL",
    ) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:  # half of an IPv6 address
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.netloc or not parts.path.strip("/"):
            expected = "a queue URL such as https://sqs.eu-west-1.amazonaws.com/123456789012/events"
            raise ConfigError(setting, url, expected)
        self.url = url
        self.name = parts.path.rsplit("/", 1)[-1]
        self.is_fifo = self.name.endswith(".fifo")
        self._options = {"region": region, "endpoint_url": endpoint_url}
        self._max_connections = max_connections
        self._client = _client(parts.scheme, parts.netloc, region, endpoint_url, max_connections)

    def sibling(self, url: str, setting: str = "the queue's redrive policy") -> Queue:
        """Another queue, reached in the same way.

        Raises
        ------
        ConfigError
        """
        return Queue(url, max_connections=self._max_connections, setting=setting, **self._options)

    def check(self) -> dict[str, str]:
        """Ask for the queue's attributes: that it is there, and that we may read it.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors(f"asking for {self.name}"):
            answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])
        return dict(answer.get("Attributes", {}))

    def clock_ahead_s(self) -> float | None:
        """Seconds by which the queue's clock is ahead of ours; ``None`` where it does not tell.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors(f"asking for {self.name}"):
            answer = self._client.get_queue_attributes(
                QueueUrl=self.url, AttributeNames=["QueueArn"]
            )
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        return parsedate_to_datetime(date).timestamp() - time.time() if date else None

    def dead_letter_queue(self) -> Queue | None:
        """The queue that the redrive policy names.

        Raises
        ------
        UnreachableError, RefusedError
        """
        policy = json.loads(self.check().get("RedrivePolicy") or "{}")
        arn = policy.get("deadLetterTargetArn", "")
        if not arn:
            return None
        name = arn.rsplit(":", 1)[-1]
        with errors(f"looking for {name}"):
            return self.sibling(self._client.get_queue_url(QueueName=name)["QueueUrl"])

    def receive(self, *, wait_s: int, visibility_s: int, limit: int = MAX_BATCH) -> list[Received]:
        """Up to ``limit`` messages (1 to 10); waits up to ``wait_s`` seconds for the first.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors(f"receiving from {self.name}"):
            answer = self._client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=visibility_s,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                MessageAttributeNames=[MESSAGE_ID, SENT_AT, REASON, DETAIL, TRACEPARENT],
            )
        now = time.time_ns() // 1000
        return [received(raw, now) for raw in answer.get("Messages", ())]

    def delete(self, messages: Sequence[Received]) -> list[Received]:
        """Delete messages; those come back that could not be deleted now. One whose receipt is no
        longer good does not: it will be delivered again, and there is nothing to try.

        Raises
        ------
        UnreachableError, RefusedError
        """
        failed = self._each(
            messages,
            "deleting from",
            self._client.delete_message_batch,
            lambda m: {"ReceiptHandle": m.receipt},
        )
        return [message for message, ours in failed if not ours]

    def hide(self, messages: Sequence[Received], seconds: int) -> list[Received]:
        """Hide messages from other consumers for that long from now (0: release them); those for
        which it is too late come back.

        Raises
        ------
        UnreachableError, RefusedError
        """
        failed = self._each(
            messages,
            "changing visibility in",
            self._client.change_message_visibility_batch,
            lambda m: {"ReceiptHandle": m.receipt, "VisibilityTimeout": seconds},
        )
        return [message for message, _ in failed]

    def _each(
        self,
        messages: Sequence[Received],
        doing: str,
        call: Callable[..., Any],
        entry: Callable[[Received], dict[str, Any]],
    ) -> list[tuple[Received, bool]]:
        """What failed, and whether by our own fault: then there is no use in trying again."""
        failed: list[tuple[Received, bool]] = []
        for start in range(0, len(messages), MAX_BATCH):
            chunk = messages[start : start + MAX_BATCH]
            entries = [{"Id": str(i), **entry(message)} for i, message in enumerate(chunk)]
            with errors(f"{doing} {self.name}"):
                answer = call(QueueUrl=self.url, Entries=entries)
            failed += [
                (chunk[int(one["Id"])], bool(one.get("SenderFault")))
                for one in answer.get("Failed", ())
            ]
        return failed

    def send(self, messages: Iterable[Outgoing]) -> list[str | None]:
        """Send messages; the id of each, ``None`` where the queue could not take one.

        Raises
        ------
        UnreachableError, RefusedError
            What came before was sent; to send it again is safe, events have identities.
        """
        ids: list[str | None] = []
        for chunk in chunks(messages):
            entries = [self._entry(i, message) for i, message in enumerate(chunk)]
            with errors(f"sending to {self.name}"):
                answer = self._client.send_message_batch(QueueUrl=self.url, Entries=entries)
            sent = {one["Id"]: one["MessageId"] for one in answer.get("Successful", ())}
            ids += [sent.get(str(i)) for i in range(len(chunk))]
        return ids

    def _entry(self, position: int, message: Outgoing) -> dict[str, Any]:
        entry: dict[str, Any] = {"Id": str(position), "MessageBody": message.body}
        if message.attributes:
            entry["MessageAttributes"] = {
                key: {"DataType": "String", "StringValue": value}
                for key, value in message.attributes.items()
            }
        if self.is_fifo:
            entry["MessageGroupId"] = message.group or "events"
            if message.dedup:
                entry["MessageDeduplicationId"] = message.dedup
        return entry


def _client(
    scheme: str, host: str, region: str | None, endpoint_url: str | None, connections: int
) -> Any:
    """A boto3 client whose retries belong to the callers."""
    config = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=3,
        # Longer than the longest poll.
        read_timeout=15,
        max_pool_connections=connections,
        tcp_keepalive=True,
        # A third of boto3's own time for a request went into describing itself and into checking
        # what is always well-formed.
        user_agent="es-sidecar",
        parameter_validation=False,
    )
    found = re.fullmatch(r"(?:[\w-]+\.)?sqs\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?", host)
    is_aws = re.search(r"\.amazonaws\.com(\.cn)?$", host) is not None
    try:
        session = boto3.session.Session()
        region = region or session.region_name or (found[1] if found else None)
        # A local server does not care which region it is in, but boto3 wants one.
        region = region or (None if is_aws else "us-east-1")
        client = session.client("sqs", region_name=region, endpoint_url=endpoint_url, config=config)
        if not is_aws and re.search(r"\.amazonaws\.com", client.meta.endpoint_url):
            client = session.client(
                "sqs", region_name=region, endpoint_url=f"{scheme}://{host}", config=config
            )
    except NoRegionError:
        raise ConfigError("AWS_REGION", None, "the region of the queue") from None
    except (ProfileNotFound, ValueError) as error:
        raise ConfigError("AWS settings", f"{error}", "settings that boto3 accepts") from None
    return client


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """Turn boto3's exceptions into the project's two families, with one clear line.

    Raises
    ------
    UnreachableError
        No connection, no answer in time, or an answer that says "later".
    RefusedError
        SQS said no, or there are no credentials to ask with.
    """
    try:
        yield
    except ClientError as error:
        raise _answered(doing, error) from None
    except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
        raise RefusedError(f"{doing}: no usable AWS credentials ({error})") from None
    # botocore has two roots for "could not reach".
    except (HTTPClientError, BotoConnectionError) as error:
        raise UnreachableError(
            f"{doing}: SQS is not reachable ({error}): is it running, and are "
            "SIDECAR_SQS_QUEUE_URL and AWS_ENDPOINT_URL_SQS right?"
        ) from None
    except BotoCoreError as error:
        raise RefusedError(f"{doing}: {error}") from None


def _answered(doing: str, error: ClientError) -> UnreachableError | RefusedError:
    found = error.response.get("Error", {})
    code, text = str(found.get("Code", "")), str(found.get("Message", ""))[:300]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = f"{doing}: SQS answered {code}: {text}"
    if _MISSING.search(code):
        return RefusedError(
            f"{doing}: there is no such queue ({code}): expected SIDECAR_SQS_QUEUE_URL and "
            "SIDECAR_SQS_DEAD_LETTER_URL to be queues of this region and account; create it first"
        )
    if _CREDENTIALS.search(code):
        return RefusedError(f"{message}: renew the AWS credentials")
    if status >= 500 or _LATER.search(code):
        return UnreachableError(message)
    return RefusedError(message)
