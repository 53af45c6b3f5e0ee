"""``sidecar demo``: the whole path on one machine, with real input."""
