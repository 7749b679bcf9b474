"""Messages of the dead-letter queue: what failed, why, and which function it was meant for.

They come in two shapes. EventBridge leaves an event that it could not deliver as it is, with the
reason in the message's attributes; Lambda wraps one that its function failed at three times.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FailedEvent", "held_messages", "read_message"]

_BATCH = 10  # the most that ReceiveMessage hands out
_HELD_SECONDS = 120
"""So long nobody else is given what is being looked at."""


@dataclass(frozen=True, kw_only=True)
class FailedEvent:
    """An event that could not be handled.

    Attributes:
        message_id: The message's id in the queue.
        receipt_handle: What it is deleted or given back with.
        sent_at: When it came into the queue, epoch seconds.
        function: ARN of the function that it was meant for; empty if the message does not say.
        payload: What the function is invoked with; None if the message cannot be read.
        why: What went wrong.
    """

    message_id: str
    receipt_handle: str = field(repr=False)
    sent_at: float
    function: str
    payload: Any
    why: str

    @property
    def about(self) -> str:
        """What the event is, in a few words."""
        event = self.payload if isinstance(self.payload, dict) else {}
        detail = event.get("detail")
        detail = detail if isinstance(detail, dict) else {}
        job = detail.get("job")
        job_id = job.get("id") if isinstance(job, dict) else detail.get("job_id")
        subject = job_id or detail.get("runner_id") or detail.get("name") or detail.get("startedBy")
        parts = (event.get("detail-type"), detail.get("action"), subject)
        return " ".join(str(part) for part in parts if part) or "unknown"


def held_messages(sqs: Any, queue_url: str) -> Iterator[Mapping[str, Any]]:
    """Every message of the queue once, each held back from others for two minutes.

    Args:
        sqs: A boto3 client of SQS.
        queue_url: The queue.
    """
    seen: set[str] = set()
    while True:
        messages = sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=_BATCH,
            VisibilityTimeout=_HELD_SECONDS,
            # a short poll asks only some of SQS's servers and may miss what there is
            WaitTimeSeconds=1,
            AttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        # one that is handed out again has been held for too long: everything was seen
        new = [message for message in messages if message["MessageId"] not in seen]
        if not new:
            return
        seen.update(message["MessageId"] for message in new)
        yield from new


def read_message(message: Mapping[str, Any]) -> FailedEvent:
    """Read a message of either shape; one of neither has no function."""
    try:
        body = json.loads(message["Body"])
    except ValueError:
        body = None
    wrapped = isinstance(body, dict) and "requestPayload" in body
    function, payload, why = _of_lambda(body) if wrapped else _of_eventbridge(body, message)
    return FailedEvent(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        sent_at=int(message["Attributes"]["SentTimestamp"]) / 1000,
        function=function,
        payload=payload,
        why=why,
    )


def _of_lambda(body: Mapping[str, Any]) -> tuple[str, Any, str]:
    context, answer = body.get("requestContext") or {}, body.get("responsePayload")
    error = answer if isinstance(answer, dict) else {}
    said = [error.get("errorType"), error.get("errorMessage")]
    why = ": ".join(str(part) for part in (context.get("condition"), *said) if part)
    return str(context.get("functionArn", "")), body["requestPayload"], why


def _of_eventbridge(body: object, message: Mapping[str, Any]) -> tuple[str, Any, str]:
    attributes = message.get("MessageAttributes", {})
    said = {name: value.get("StringValue", "") for name, value in attributes.items()}
    why = ": ".join(filter(None, (said.get("ERROR_CODE"), said.get("ERROR_MESSAGE"))))
    return said.get("TARGET_ARN", ""), body, why or "the message does not say"
