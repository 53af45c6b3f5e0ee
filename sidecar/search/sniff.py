"""Node addresses in the answers that clients sniff. Pure."""

from __future__ import annotations

import json
import re

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(:[0-9]{1,5})?")


def point_at(body: bytes, address: str) -> bytes | None:
    """A nodes answer in which every node's HTTP address is the given one.

    Parameters
    ----------
    body : bytes
    address : str
        ``host:port`` or ``host``.

    Returns
    -------
    bytes, optional
        ``None`` when there is nothing to change, or the address cannot be one.
    """
    if not _ADDRESS.fullmatch(address):
        return None
    if not re.search(r":\d+$", address):
        address += ":80"
    try:
        answer = json.loads(body)
        nodes = [one["http"] for one in answer["nodes"].values() if "http" in one]
        for http in nodes:
            if "publish_address" in http:
                http["publish_address"] = address
            if "bound_address" in http:
                http["bound_address"] = [address]
        return json.dumps(answer).encode() if nodes else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
