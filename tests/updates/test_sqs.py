"""The queue: what boto3 says, in the project's words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import NoCredentialsError
from botocore.stub import Stubber

from sidecar.contract.errors import ConfigError, MessageError, RefusedError, UnreachableError
from sidecar.contract.events import EventVocabulary
from sidecar.embedded.process import free_port
from sidecar.updates.dead_letters import DeadLetters
from sidecar.updates.envelopes import MESSAGE_ID, SENT_AT, Outgoing, Received, received
from sidecar.updates.publish import group_id, send_events
from sidecar.updates.sqs import Queue, errors
from updates.fakes import event, message

if TYPE_CHECKING:
    from updates.conftest import MakeQueue

LOCAL = "http://127.0.0.1:9/000000000000/events"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """A queue nobody listens behind."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    return Queue(f"http://127.0.0.1:{free_port()}/000000000000/events", region="us-east-1")


@pytest.mark.parametrize("digits", [20, 4300, 4301, 200_000])
def test_attributes_that_anybody_may_send_stop_no_receiver(digits: int) -> None:
    attributes = {SENT_AT: "9" * digits, MESSAGE_ID: "m" * digits * 10}
    raw = {
        "MessageId": "own",
        "Body": "{}",
        "ReceiptHandle": "r",
        "Attributes": {"SentTimestamp": "1700000000000"},
        "MessageAttributes": {key: {"StringValue": value} for key, value in attributes.items()},
    }
    found = received(raw, 1)
    assert (found.message_id, found.sent_at) == ("own", 1_700_000_000_000_000)


@pytest.mark.parametrize("url", ["", "events", "ftp://x/1/q", "http://127.0.0.1:1", "http:///q"])
def test_a_url_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="SIDECAR_SQS_QUEUE_URL"):
        Queue(url)


def test_the_region_comes_from_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    queue = Queue("https://sqs.eu-central-1.amazonaws.com/123456789012/events.fifo")
    assert queue._client.meta.endpoint_url == "https://sqs.eu-central-1.amazonaws.com"
    assert queue._client.meta.region_name == "eu-central-1"
    assert queue.is_fifo


def test_a_local_queue_is_asked_where_its_url_says(offline: Queue) -> None:
    assert offline._client.meta.endpoint_url == offline.url.rsplit("/", 2)[0]


def test_nobody_there_is_one_line_that_says_where(offline: Queue) -> None:
    with pytest.raises(UnreachableError, match="SIDECAR_SQS_QUEUE_URL") as caught:
        offline.check()
    assert "127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "status", "family", "says"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", 400, RefusedError, "no such queue"),
        ("QueueDoesNotExist", 400, RefusedError, "no such queue"),
        ("RequestThrottled", 400, UnreachableError, "RequestThrottled"),
        ("ThrottlingException", 400, UnreachableError, "ThrottlingException"),
        ("OverLimit", 403, UnreachableError, "OverLimit"),
        ("ServiceUnavailable", 503, UnreachableError, "ServiceUnavailable"),
        ("Whatever", 500, UnreachableError, "Whatever"),
        ("ExpiredToken", 403, RefusedError, "renew the AWS credentials"),
        ("InvalidClientTokenId", 403, RefusedError, "renew the AWS credentials"),
        ("AccessDenied", 403, RefusedError, "AccessDenied"),
    ],
)
def test_every_answer_belongs_to_a_family(
    offline: Queue, code: str, status: int, family: type[Exception], says: str
) -> None:
    with Stubber(offline._client) as stub:
        stub.add_client_error("receive_message", code, "some words", http_status_code=status)
        with pytest.raises(family, match=says) as caught:
            offline.receive(wait_s=0, visibility_s=30)
    assert "\n" not in str(caught.value)


def test_deletions_are_tried_again_only_where_that_can_help(offline: Queue) -> None:
    messages = [message("x", name) for name in ("done", "stale", "busy")]
    failures = [
        {"Id": "1", "SenderFault": True, "Code": "ReceiptHandleIsInvalid"},
        {"Id": "2", "SenderFault": False, "Code": "InternalError"},
    ]
    with Stubber(offline._client) as stub:
        done = [{"Id": "0"}]
        stub.add_response("delete_message_batch", {"Successful": done, "Failed": failures})
        assert [one.message_id for one in offline.delete(messages)] == ["busy"]
        stub.add_response(
            "change_message_visibility_batch", {"Successful": done, "Failed": failures}
        )
        assert [one.message_id for one in offline.hide(messages, 30)] == ["stale", "busy"]


def test_no_credentials_is_said_plainly() -> None:
    with pytest.raises(RefusedError, match="no usable AWS credentials"), errors("x"):
        raise NoCredentialsError


@pytest.mark.servers
def test_a_missing_queue_is_said_plainly(make_queue: MakeQueue) -> None:
    there = make_queue("there")
    with pytest.raises(RefusedError, match="no such queue"):
        there.sibling(f"{there.url}-not").check()


@pytest.mark.servers
def test_messages_come_back_as_they_were_sent(make_queue: MakeQueue) -> None:
    queue = make_queue("events")
    ids = queue.send(Outgoing(f"body {i} é", attributes={MESSAGE_ID: f"m{i}"}) for i in range(25))
    assert len(set(ids)) == 25
    got = []
    while batch := queue.receive(wait_s=0, visibility_s=60):
        got += batch
    assert {one.body for one in got} == {f"body {i} é" for i in range(25)}
    # Sent again: the identity is the first one's.
    assert {one.message_id for one in got} == {f"m{i}" for i in range(25)}
    assert all(one.receives == 1 and one.sent_at <= one.received_at for one in got)
    assert queue.delete(got) == []
    assert queue.receive(wait_s=0, visibility_s=60) == []


@pytest.mark.servers
def test_the_time_of_a_message_that_was_sent_again_is_the_first_one(make_queue: MakeQueue) -> None:
    queue = make_queue("events")
    queue.send([Outgoing("a", attributes={SENT_AT: "1000"})])
    queue.send([Outgoing("b", attributes={SENT_AT: "99999999999999999999"})])
    queue.send([Outgoing("c", attributes={SENT_AT: "soon"})])
    got = {one.body: one.sent_at for one in queue.receive(wait_s=0, visibility_s=60)}
    assert got["a"] == 1000
    # Nobody can claim a later time than the queue's own.
    assert all(10**15 < got[name] < 10**16 for name in "bc")


@pytest.mark.servers
def test_released_messages_are_there_at_once(make_queue: MakeQueue) -> None:
    queue = make_queue("events")
    queue.send([Outgoing("x")])
    first = queue.receive(wait_s=0, visibility_s=60)
    assert queue.receive(wait_s=0, visibility_s=60) == []
    assert queue.hide(first, 0) == []
    again = queue.receive(wait_s=1, visibility_s=60)
    assert [one.receives for one in again] == [2]


@pytest.mark.servers
def test_long_messages_are_sent_in_requests_that_fit(make_queue: MakeQueue) -> None:
    queue = make_queue("events")
    assert all(queue.send(Outgoing("x" * 100_000) for _ in range(7)))
    assert int(queue.check()["ApproximateNumberOfMessages"]) == 7


@pytest.mark.servers
def test_a_fifo_queue_keeps_each_shoppers_order(make_queue: MakeQueue) -> None:
    queue = make_queue("events.fifo")
    assert queue.is_fifo
    sent = send_events(queue, [event(i % 2, f"p{i}") for i in range(8)], EventVocabulary())
    assert all(one.message_id for one in sent)
    got = [json.loads(one.body) for one in queue.receive(wait_s=1, visibility_s=60)]
    for shopper in (0, 1):
        mine = [int(one["product_id"][1:]) for one in got if one["customer_id"] == shopper]
        assert mine == sorted(mine)


@pytest.mark.servers
def test_events_are_checked_at_the_door(make_queue: MakeQueue) -> None:
    queue = make_queue("events")
    sent = send_events(
        queue,
        [event(), event(name="licked"), {"customer_id": float("nan")}, event(timestamp="soon")],
        EventVocabulary(),
    )
    assert [one.reason for one in sent] == ["", "unknown_event", "not_json", "bad_timestamp"]
    assert int(queue.check()["ApproximateNumberOfMessages"]) == 1
    with pytest.raises(MessageError, match="too_many"):
        send_events(queue, [event()] * 501, EventVocabulary())


@pytest.mark.servers
def test_the_dead_letter_queue_is_found(make_queue: MakeQueue) -> None:
    queue = make_queue("events", dead_after=3)
    dead = queue.dead_letter_queue()
    assert dead is not None
    assert dead.name == f"{queue.name}-dead"
    assert dead.dead_letter_queue() is None


def test_message_groups_are_what_sqs_takes() -> None:
    assert group_id("12345") == "12345"
    for odd in ("é", "a b", "x" * 129, ""):
        assert group_id(odd).isalnum()
        assert len(group_id(odd)) <= 128
    assert group_id("é") == group_id("é") != group_id("è")


@pytest.mark.servers
def test_a_trace_goes_along_to_the_consumer_and_the_dead_letters(make_queue: MakeQueue) -> None:
    queue, dead = make_queue("traced"), make_queue("traced-dead")
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = {"customer_id": "c", "product_id": "p", "event_name": "share"}
    send_events(queue, [body, body], EventVocabulary(), context)
    send_events(queue, [body], EventVocabulary())
    got: list[Received] = []
    while len(got) < 3:
        got += queue.receive(wait_s=1, visibility_s=60)
    assert sorted(one.attributes.get("traceparent", "") for one in got) == ["", context, context]
    DeadLetters(dead).add([(one, MessageError("not_json", "x")) for one in got])
    letters: list[Received] = []
    while len(letters) < 3:
        letters += dead.receive(wait_s=1, visibility_s=60)
    assert sorted(one.identity.get("traceparent", "") for one in letters) == ["", context, context]
