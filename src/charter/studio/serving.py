"""The studio on a port: on this machine alone, or with a certificate, or where somebody says so."""

from __future__ import annotations

import getpass
import ipaddress
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from charter.errors import SpecError, StoreError
from charter.studio.gatekeeper import StudioAddress
from charter.studio.sessions import StudioAccess, parse_access

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ListeningPlace:
    """Where the studio listens. ``port`` 0 takes any free one; ``certificate`` and ``key`` are files for TLS;
    ``name``: another name under which it is reached; ``insecure``: other machines may reach it without TLS."""

    host: str = LOOPBACK
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None
    name: str = ""
    insecure: bool = False


def serve_studio(
    root: Path, roles: Sequence[str], place: ListeningPlace, announce: Callable[[StudioAccess, str], None]
) -> None:
    """Serves until an interrupt.

    Args:
        root: The folder of runs.
        roles: Ways in, each ``ROLE`` or ``ROLE:NAME``; none: one for the role admin.
        place: Where it listens.
        announce: Is given each way in with its address, as soon as calls are accepted.

    Raises:
        SpecError: No such role, or another host without TLS; or a port that cannot be used.
        StoreError: There is no such folder.
    """
    from charter.studio.application import make_application

    if not root.is_dir():
        raise StoreError(f"{root} is no folder", "Give the folder of runs, or a run's own.")
    import_module("scipy.special")  # a fifth of a second, for which the first reader would wait
    accesses = [parse_access(asked, getpass.getuser()) for asked in roles or ("admin",)]

    with ExitStack() as opened:

        def open_studio(address: StudioAddress, url: str) -> ASGIApp:
            for access in accesses:
                announce(access, f"{url}/enter?token={access.token}")
            app = make_application(root, accesses, address)
            opened.callback(app.state.chat.close)
            return app

        serve_application(place, open_studio)


def serve_application(place: ListeningPlace, open_application: Callable[[StudioAddress, str], ASGIApp]) -> None:
    """Serves an application until an interrupt.

    Args:
        place: Where it listens.
        open_application: From the address, and from the URL of it, to the application; calls are accepted by then.

    Raises:
        SpecError: Another host without TLS, or a port that cannot be used.
    """
    import uvicorn

    require_safe_place(place)
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:  # else no TCP_NODELAY is set
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((place.host, place.port))
        except (OSError, OverflowError) as error:
            fault = f"{place.host} port {place.port} cannot be used: {error}"
            raise SpecError(fault, cure="Choose another port, or 0 for any.") from error
        listener.listen(128)
        address = describe_place(place, listener.getsockname()[1])
        host = f"{place.name or _bracket(place.host)}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            open_application(address, f"{address.scheme}://{host}"),
            log_level="warning",
            access_log=False,  # addresses hold tokens
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=2,
            ssl_certfile=place.certificate,
            ssl_keyfile=place.key,
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return


def require_safe_place(place: ListeningPlace) -> None:
    """Raises SpecError where other machines could listen to what is said: without TLS, and nobody asked for it."""
    if (place.certificate is None) != (place.key is None):
        raise SpecError("TLS needs a certificate and its key", cure="Give both: --certificate FILE --key FILE")
    if place.certificate is None and not place.insecure and not _is_loopback(place.host):
        cure = "Give --certificate and --key, or say --insecure where the network is your own."
        raise SpecError(f"{place.host} is reached by other machines, and there is no TLS", cure=cure)


def describe_place(place: ListeningPlace, port: int) -> StudioAddress:
    """The scheme, the right values of the header Host, and the cookie's name, which other ports do not share."""
    names = {place.host, place.name} if place.name else {place.host}
    if _is_loopback(place.host):
        names |= {"localhost", LOOPBACK, "::1"}
    scheme = "http" if place.certificate is None else "https"
    hosts = {f"{_bracket(name.lower())}:{port}" for name in names}
    if port == (443 if scheme == "https" else 80):
        hosts |= {_bracket(name.lower()) for name in names}
    return StudioAddress(scheme, frozenset(hosts), f"charter-studio-{port}")


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
