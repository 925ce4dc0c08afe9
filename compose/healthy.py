"""Says by its exit code whether a service of this container answers: `python -m compose.healthy 9860/-/healthy`.

For the health checks of containers, which have no curl. Only this container is asked, so a certificate need not be
one for its name, and a service that wants a password is alive all the same.
"""

from __future__ import annotations

import http.client
import ssl
import sys

_PATIENCE = 4.0  # s; less than the health check's own, so that the reason is seen
_REFUSED = (401, 403)


def answer(port: int, path: str) -> int:
    """The status with which the service answers, over TLS when it does not speak plain HTTP. Raises OSError."""
    try:
        return _status(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE), path)
    except (http.client.HTTPException, ConnectionResetError):
        unchecked = ssl._create_unverified_context()  # noqa: S323, SLF001 -- asks its own container
        return _status(http.client.HTTPSConnection("127.0.0.1", port, timeout=_PATIENCE, context=unchecked), path)


def _status(connection: http.client.HTTPConnection, path: str) -> int:
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def main(where: str) -> int:
    """0 when what listens on PORT answers at /PATH; `where` is PORT/PATH."""
    port, _, path = where.partition("/")
    try:
        status = answer(int(port), f"/{path}")
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"port {port}: {error}\n")
        return 1
    sys.stdout.write(f"port {port}: {status}\n")
    return 0 if status == http.client.OK or status in _REFUSED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
