"""The inspector: pages that show a shopper, the history, the attention, and what it does."""
