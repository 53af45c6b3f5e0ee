"""Products and events: read through ibis, cleaned, split by time, cut into examples."""
