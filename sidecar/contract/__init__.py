"""What trainer and sidecar must agree on.

Pure data and pure functions: no I/O but the weights file, no outside library but numpy and
safetensors. Contracts in words: ``docs/contracts.md``.
"""
