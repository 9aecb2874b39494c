"""Where a served model is: an address of the Open Inference Protocol (v2)."""

import re
import urllib.parse
from dataclasses import dataclass

from zoo.errors import InputError

SCHEMES = ("http", "https", "grpc")
_PATH = re.compile(
    r"(?P<prefix>.*?)"
    r"(/v2(/models(/(?P<model>[^/]+)(/versions/(?P<version>[^/]+))?)?)?(/infer)?)?/*"
)


@dataclass(frozen=True)
class Address:
    """A server, and perhaps a model on it.

    Args:
        scheme: ``http``, ``https`` or ``grpc``.
        host: Its host and port.
        prefix: What comes before ``/v2`` in its paths, for example behind a gateway.
        model: The model's name; empty for the only one.
        version: The model's version; empty for the one that the server chooses.
    """

    scheme: str
    host: str
    prefix: str = ""
    model: str = ""
    version: str = ""

    @property
    def server(self) -> str:
        """The server's own address."""
        return f"{self.scheme}://{self.host}{self.prefix}"


def is_address(what: object) -> bool:
    """Say whether something is meant as an address, and not as a name or a file."""
    return isinstance(what, str) and "://" in what


def parse(text: str) -> Address:
    """Read an address.

    Args:
        text: For example ``http://127.0.0.1:8000/v2/models/resnet20.digits``,
            ``grpc://127.0.0.1:8001``, or a model's address with ``/versions/2`` after it.

    Returns:
        Its parts.

    Raises:
        InputError: It is none of these.
    """
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port  # raises where it is no number
        (parts.hostname or "").encode("idna")  # raises where a name's part is empty or too long
    except ValueError as error:
        raise _refused(text, str(error)) from error
    path = _PATH.fullmatch(parts.path)
    if parts.scheme not in SCHEMES or not parts.hostname or path is None:
        raise _refused(text, "")
    if not f"{parts.netloc}{path['prefix']}".isascii():
        raise _refused(
            text, "other signs than ASCII's are written as %.. in a path, xn--.. in a host"
        )
    if parts.query or parts.fragment or parts.username is not None:
        raise _refused(text, "it has more than a host and a path")
    if parts.scheme == "grpc" and (port is None or path["prefix"]):
        raise _refused(text, "gRPC has a port, and no path of its own")
    model, version = (urllib.parse.unquote(path[key] or "") for key in ("model", "version"))
    return Address(parts.scheme, parts.netloc, path["prefix"], model, version)


def _refused(text: str, why: str) -> InputError:
    """Make the error for what is no address of a model."""
    return InputError(
        f"accepted is http(s)://HOST:PORT/v2/models/NAME or grpc://HOST:PORT/v2/models/NAME, or "
        f"the address of a server that serves one model, without /v2/models/NAME; received {text}"
        + (f" ({why})" if why else "")
    )
