"""The Elasticsearch layer against a server: set-up, product vectors, shoppers."""

from __future__ import annotations

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from sidecar import resources
from sidecar.contract.errors import (
    ConfigError,
    MappingConflictError,
    RefusedError,
    UnreachableError,
)
from sidecar.contract.history import Interaction
from sidecar.contract.schema import EMBEDDING_MODEL
from sidecar.contract.vectors import VectorFile
from sidecar.elastic.client import connect, redact, server_version
from sidecar.elastic.indices import concrete_indices, properties, setup_products, setup_users
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Outcome, User, Users
from sidecar.elastic.vectors import load_vectors
from sidecar.embedded.process import free_port

pytestmark = pytest.mark.servers
PRODUCTS, USERS = resources.mapping("products"), resources.mapping("users")
CLICK = Interaction(1_700_000_000_123_456, "e1", "p1", "product_clicked", 1_700_000_001_000_000)


def a_file(count: int = 3, space: str = EMBEDDING_MODEL) -> VectorFile:
    vectors = np.random.default_rng(0).normal(size=(count, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return VectorFile([f"p{i}" for i in range(count)], vectors, ["00" * 16] * count, space)


@pytest.fixture
def products(client: Elasticsearch, unique: str) -> str:
    """An index of a shop's own making, with three products and none of our fields."""
    index = f"{unique}-products"
    client.indices.create(index=index, mappings={"properties": {"name": {"type": "text"}}})
    for i in range(3):
        client.index(index=index, id=f"p{i}", document={"name": f"product {i}"})
    client.indices.refresh(index=index)
    return index


def test_setup_adds_its_fields_once_and_keeps_the_shops(
    client: Elasticsearch, products: str
) -> None:
    first = setup_products(client, [products], PRODUCTS)
    again = setup_products(client, [products], PRODUCTS)
    fields = properties(client, products)
    assert [step.changed for step in first + again] == [True, False]
    assert fields["product_vector"]["type"] == "dense_vector"
    assert fields["product_vector"]["dims"] == 384
    assert fields["name"]["type"] == "text"
    assert client.get(index=products, id="p1")["_source"] == {"name": "product 1"}


def test_setup_refuses_a_conflict_and_changes_no_index(client: Elasticsearch, unique: str) -> None:
    good, bad = f"{unique}-a", f"{unique}-b"
    client.indices.create(index=good)
    field = {"type": "dense_vector", "dims": 128, "index": True, "similarity": "cosine"}
    client.indices.create(index=bad, mappings={"properties": {"product_vector": field}})
    with pytest.raises(MappingConflictError, match=rf"{bad} maps product_vector.*128.*384"):
        setup_products(client, [good, bad], PRODUCTS)
    assert "product_vector" not in properties(client, good)


@pytest.mark.parametrize(
    "field",
    [
        {"type": "float"},
        {"type": "dense_vector", "dims": 384, "index": True, "similarity": "l2_norm"},
    ],
)
def test_setup_refuses_other_kinds_of_vector(
    client: Elasticsearch, unique: str, field: dict[str, object]
) -> None:
    client.indices.create(index=unique, mappings={"properties": {"product_vector": field}})
    with pytest.raises(MappingConflictError, match="product_vector"):
        setup_products(client, [unique], PRODUCTS)


def test_setup_names_an_index_that_is_missing(client: Elasticsearch, unique: str) -> None:
    with pytest.raises(RefusedError, match=rf"SIDECAR_PRODUCT_INDICES={unique}-none"):
        setup_products(client, [f"{unique}-none"], PRODUCTS)
    with pytest.raises(RefusedError, match="no index"):
        setup_products(client, [f"{unique}-none*"], PRODUCTS)


def test_aliases_and_wildcards_resolve(client: Elasticsearch, unique: str, products: str) -> None:
    client.indices.put_alias(index=products, name=f"{unique}-alias")
    assert concrete_indices(client, [f"{unique}-alias"]) == [products]
    assert concrete_indices(client, [f"{unique}-prod*"]) == [products]


def test_users_index_is_made_once_and_checked(client: Elasticsearch, unique: str) -> None:
    assert setup_users(client, unique, USERS).changed
    assert not setup_users(client, unique, USERS).changed
    client.indices.create(
        index=f"{unique}-bad", mappings={"properties": {"user_vector": {"type": "keyword"}}}
    )
    with pytest.raises(MappingConflictError, match="user_vector"):
        setup_users(client, f"{unique}-bad", USERS)


def test_a_vector_file_reaches_the_index_and_comes_back(
    client: Elasticsearch, products: str
) -> None:
    setup_products(client, [products], PRODUCTS)
    file = a_file(4)
    loaded = load_vectors(client, [products], file)
    assert (loaded.written, loaded.absent) == (3, 1)
    found = ProductVectors(client, [products], dimension=384).get(
        ["p0", "p2", "p3", "nobody"], EMBEDDING_MODEL
    )
    assert found.keys() == {"p0", "p2"}
    assert found["p2"].dtype == np.float32
    np.testing.assert_allclose(found["p2"], file.vectors[2], atol=1e-6)
    assert client.get(index=products, id="p1")["_source"]["name"] == "product 1"


def test_vectors_of_another_space_do_not_count(client: Elasticsearch, products: str) -> None:
    setup_products(client, [products], PRODUCTS)
    load_vectors(client, [products], a_file(3, space=f"{EMBEDDING_MODEL}+abc"))
    vectors = ProductVectors(client, [products], dimension=384)
    assert vectors.get(["p0"], EMBEDDING_MODEL) == {}
    assert vectors.get(["p0"], f"{EMBEDDING_MODEL}+abc").keys() == {"p0"}


def test_the_cache_is_bounded_and_expires(client: Elasticsearch, products: str) -> None:
    setup_products(client, [products], PRODUCTS)
    load_vectors(client, [products], a_file(3))
    now = [0.0]
    vectors = ProductVectors(
        client, [products], dimension=384, cache_mb=1, ttl_s=60, clock=lambda: now[0]
    )
    assert "p0" in vectors.get(["p0", "p9"], EMBEDDING_MODEL)
    client.delete(index=products, id="p0")
    client.index(index=products, id="p9", document={"product_vector": a_file().vectors[1].tolist()})
    assert vectors.get(["p0", "p9"], EMBEDDING_MODEL).keys() == {"p0"}
    now[0] = 6.0  # "has no vector" is believed for a few seconds only
    assert vectors.get(["p0", "p9"], EMBEDDING_MODEL).keys() == {"p0", "p9"}
    now[0] = 61.0
    assert vectors.get(["p0", "p9"], EMBEDDING_MODEL).keys() == {"p9"}
    vectors.get([f"x{i}" for i in range(3000)], EMBEDDING_MODEL)
    assert len(vectors._cache) <= 1e6 / (4 * 384)
    with pytest.raises(ConfigError, match="SIDECAR_PRODUCT_CACHE_MB"):
        ProductVectors(client, [products], dimension=384, cache_mb=0)


def test_a_shopper_comes_back_as_stored(client: Elasticsearch, unique: str) -> None:
    setup_users(client, unique, USERS)
    users = Users(client, unique)
    vector = a_file().vectors[0]
    user = User("c 1/ü", (CLICK,), vector, "f" * 16, EMBEDDING_MODEL, 1_700_000_002_000)
    assert users.put_many([user])["c 1/ü"].outcome is Outcome.STORED
    read = users.get("c 1/ü")
    assert read is not None
    assert read.vector is not None
    assert read.history == user.history
    assert (read.weights, read.product_space) == ("f" * 16, EMBEDDING_MODEL)
    np.testing.assert_allclose(read.vector, vector, atol=1e-7)
    assert users.get_many(["c 1/ü", "nobody"]).keys() == {"c 1/ü"}
    assert users.get("nobody") is None
    assert users.delete("c 1/ü")
    assert not users.delete("c 1/ü")


def test_a_write_that_somebody_overtook_is_a_conflict(client: Elasticsearch, unique: str) -> None:
    setup_users(client, unique, USERS)
    users = Users(client, unique)
    assert users.put_many([User("a"), User("b")])["a"].outcome is Outcome.STORED
    assert users.put_many([User("a")])["a"].outcome is Outcome.CONFLICT  # create, but it is there
    read = users.get("a")
    assert read is not None
    assert users.put_many([read])["a"].outcome is Outcome.STORED
    outcomes = users.put_many([read, User("c")])
    assert [outcomes["a"].outcome, outcomes["c"].outcome] == [Outcome.CONFLICT, Outcome.STORED]


def test_a_missing_users_index_is_not_an_unknown_shopper(
    client: Elasticsearch, unique: str
) -> None:
    users = Users(client, f"{unique}-none")
    with pytest.raises(RefusedError, match="index_not_found"):
        users.get("a")
    with pytest.raises(RefusedError):
        users.get_many(["a"])


def test_no_server_is_unreachable_and_says_what_to_do() -> None:
    with (
        connect(f"http://127.0.0.1:{free_port()}") as nobody,
        pytest.raises(UnreachableError, match="SIDECAR_ELASTICSEARCH_URL"),
    ):
        server_version(nobody)


def test_addresses(client: Elasticsearch) -> None:
    assert server_version(client) >= (8, 11)
    with pytest.raises(ConfigError, match="SIDECAR_ELASTICSEARCH_URL"):
        connect("ftp://nowhere")
    assert redact("http://me:secret@host:9200") == "http://***@host:9200"
    connect("http://localhost").close()
