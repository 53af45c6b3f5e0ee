"""A local Elasticsearch and SQS that speak the real wire protocols, for the first run and tests.

Never for production: they are complete enough to see that the sidecar works, not to measure it.
"""
