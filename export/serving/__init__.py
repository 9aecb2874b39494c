"""A real inference server for a bundle, on this machine alone."""

from export.serving.server import Server, serve

__all__ = ["Server", "serve"]
