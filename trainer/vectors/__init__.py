"""Product vectors: text through MiniLM, kept by the hash of the text."""
