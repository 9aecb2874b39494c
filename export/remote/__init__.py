"""Models that a server holds, asked by the Open Inference Protocol."""

from export.remote.address import is_address
from export.remote.model import RemoteModel, open_model

__all__ = ["RemoteModel", "is_address", "open_model"]
