"""`trainer vectorize`."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from sidecar.contract.schema import EMBEDDING_MODEL
from trainer.commands.options import FIELD, vectors_beside


@click.command(
    epilog="Example: trainer vectorize --elasticsearch-url http://127.0.0.1:9200 --index products "
    "--weights weights/user_tower.safetensors"
)
@click.option(
    "--products",
    help="Catalogue: Parquet, CSV, JSON Lines, or a GA4 export. Without it the index itself is read.",
)
@click.option(
    "--index",
    "indices",
    envvar="SIDECAR_PRODUCT_INDICES",
    show_envvar=True,
    help="Index, alias or wildcard to write the vectors into; several with commas between them. The "
    "environment's counts where there is no --out.",
)
@click.option(
    "--elasticsearch-url",
    envvar="SIDECAR_ELASTICSEARCH_URL",
    show_envvar=True,
    default="http://127.0.0.1:9200",
    show_default=True,
    help="Address of the cluster.",
)
@click.option(
    "--elasticsearch-api-key",
    envvar="SIDECAR_ELASTICSEARCH_API_KEY",
    show_envvar=True,
    help="Encoded API key; better in the environment, where no list of processes shows it.",
)
@click.option(
    "--elasticsearch-ca-certs",
    envvar="SIDECAR_ELASTICSEARCH_CA_CERTS",
    show_envvar=True,
    help="File of the authority that signed the cluster's certificate.",
)
@FIELD
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of product vectors to write; `sidecar setup --vectors` loads it.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Weights whose product tower and price limits are applied.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that keeps the text vectors (default: beside --out; for an index, beside weights with "
    "a product tower, where training has left it; else none is needed).",
)
@click.option(
    "--model",
    default=EMBEDDING_MODEL,
    show_default=True,
    help="sentence-transformers model, by name or folder.",
)
@click.option("--half/--full", default=False, help="float16 in --out, for half the size.")
def command(
    products: str | None,
    indices: str | None,
    elasticsearch_url: str,
    elasticsearch_api_key: str | None,
    elasticsearch_ca_certs: str | None,
    fields: tuple[str, ...],
    out: Path | None,
    weights: Path | None,
    cache: Path | None,
    model: str,
    half: bool,
) -> None:
    """Turn products into vectors, in an index or a file; only texts that changed are embedded.

    A stopped run goes on where it was when the same command is given again.
    """
    from sidecar.tower.load import load_tower
    from trainer.data.fields import fields_of
    from trainer.errors import DataError
    from trainer.vectors import run

    given = click.get_current_context().get_parameter_source
    if out and given("indices") is ParameterSource.ENVIRONMENT:
        indices = None
    names = [part.strip() for part in (indices or "").split(",") if part.strip()]
    if not names and given("elasticsearch_url") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--elasticsearch-url: expected --index too, the index of products")
    if not names and not out:
        raise click.UsageError("expected --index, to write into Elasticsearch, or --out FILE")
    if not products and not names:
        raise click.UsageError("expected --products FILE, or --index to read the catalogue from")
    tower = load_tower(weights) if weights else None
    if tower and tower.weights.metadata.embedding_model != model:
        raise DataError(
            str(weights),
            f"made for {tower.weights.metadata.embedding_model}: expected --model {model}",
        )
    if cache is None and out:
        cache = out.with_name(out.stem + ".texts.safetensors")
    elif cache is None and weights and tower and tower.weights.product_tower:
        cache = vectors_beside(weights, None)
    where = fields_of(fields)
    work = run.Work(tower.weights if tower else None, model, cache, products, out, half, where)
    if names:
        address = (elasticsearch_url, elasticsearch_api_key, elasticsearch_ca_certs)
        run.into_index(work, address, names)
    else:
        run.into_file(work)
