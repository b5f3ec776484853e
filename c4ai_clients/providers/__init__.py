"""One file a protocol; its docstring is the protocol in a few lines."""
