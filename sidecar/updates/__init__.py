"""SQS message to history, tower, users index: every event counts, once, whatever fails."""
