"""The report: one HTML page without anything from outside."""
