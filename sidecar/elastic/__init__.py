"""The only Elasticsearch code of the serving side (but for the proxy, which forwards bytes)."""
