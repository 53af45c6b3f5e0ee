"""``/_sidecar/recommendations``, ``/_sidecar/similar`` and ``/_sidecar/trending``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint, Response, jsonify, request

from sidecar.contract.errors import ConfigError, MalformedError
from sidecar.search.decision import ACTION_HEADER, QUERY_ID_HEADER, REASON_HEADER
from sidecar.search.instructions import is_query_id, new_query_id
from sidecar.web.bodies import read_json
from sidecar.web.problems import Answer, answer_errors, problem
from sidecar.web.recommend import Recommended, Recommender
from sidecar.web.wanted import Wanted, from_body, from_parameters

MAX_BYTES = 64 << 10


def recommendations_blueprint(recommender: Recommender) -> Blueprint:
    """The routes.

    Parameters
    ----------
    recommender : Recommender
    """
    routes = Blueprint("recommendations", __name__, url_prefix="/_sidecar")
    answer_errors(routes)

    @routes.route(
        "/recommendations/<path:customer_id>", methods=["GET", "POST"], merge_slashes=False
    )
    def recommendations(customer_id: str) -> Response:
        wanted = _wanted()
        query_id = request.headers.get(QUERY_ID_HEADER) or new_query_id()
        if not is_query_id(query_id):
            raise ConfigError(QUERY_ID_HEADER, query_id, "1 to 100 printable ASCII characters")
        with _filter_to_blame(wanted):
            answer = _answer(recommender.for_shopper(customer_id, wanted))
        answer.headers[QUERY_ID_HEADER] = query_id
        return answer

    @routes.route("/similar/<path:product_id>", methods=["GET", "POST"], merge_slashes=False)
    def similar(product_id: str) -> Response | Answer:
        wanted = _wanted()
        with _filter_to_blame(wanted):
            found = recommender.similar(product_id, wanted)
        if found is None:
            return problem(404, "unknown_product", "no index of products holds this id")
        return _answer(found)

    @routes.route("/trending", methods=["GET", "POST"])
    def trending() -> Response:
        wanted = _wanted()
        with _filter_to_blame(wanted):
            return _answer(recommender.trending(wanted))

    return routes


def _wanted() -> Wanted:
    """What the request asks for.

    Raises
    ------
    ConfigError
    """
    if request.method == "POST":
        return from_body(read_json(MAX_BYTES))
    twice = [name for name, values in request.args.lists() if len(values) > 1]
    if twice:
        raise ConfigError(twice[0], "given twice", "each parameter once")
    return from_parameters(request.args.to_dict())


@contextmanager
def _filter_to_blame(wanted: Wanted) -> Iterator[None]:
    """What Elasticsearch cannot read is the caller's fault if the caller wrote a part of it.

    Raises
    ------
    ConfigError
    """
    try:
        yield
    except MalformedError as error:
        if wanted.filter is None:
            raise
        expected = f"a query that Elasticsearch can read ({error})"
        raise ConfigError("filter", wanted.filter, expected) from None


def _answer(found: Recommended) -> Response:
    answer = jsonify(found.answer)
    answer.headers[ACTION_HEADER] = found.action
    answer.headers[REASON_HEADER] = found.reason
    answer.headers["Cache-Control"] = "no-store"
    return answer
