"""The project's errors as answers: one shape for every route of the sidecar's own."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, jsonify

from sidecar.contract.errors import ConfigError, MessageError, RefusedError, UnreachableError

log = logging.getLogger(__name__)

Answer = tuple[Response, int]


def problem(status: int, error: str, detail: str) -> Answer:
    """An error's answer: what it is, and what to do about it."""
    return jsonify(error=error, detail=detail), status


def answer_errors(routes: Blueprint) -> None:
    """Let a blueprint's routes raise the project's errors."""

    @routes.errorhandler(ConfigError)
    def bad_request(error: ConfigError) -> Answer:
        return problem(400, "bad_request", str(error))

    @routes.errorhandler(MessageError)
    def bad_message(error: MessageError) -> Answer:
        return problem(400, error.reason, str(error))

    @routes.errorhandler(UnreachableError)
    def unreachable(error: UnreachableError) -> Answer:
        log.warning("%s", error)
        answer, status = problem(503, "unreachable", str(error))
        answer.headers["Retry-After"] = "1"
        return answer, status

    @routes.errorhandler(RefusedError)
    def refused(error: RefusedError) -> Answer:
        log.warning("%s", error)
        return problem(502, "refused", str(error))
