"""Personalised re-ranking for Elasticsearch: the serving side, in numpy and Flask."""

__version__ = "0.1.0"
