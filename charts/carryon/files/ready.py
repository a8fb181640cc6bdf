"""Ask every address behind each URL given whether it is ready, for up to two minutes."""

import http.client
import socket
import sys
import time
from urllib.parse import urlsplit

deadline = time.monotonic() + 120


def wrong(host, port, path):
    """What keeps one address of a host from being ready; empty where all are."""
    try:
        found = sorted({info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except OSError as error:
        return f"{host}: {error}"
    for address in found:
        try:
            asked = http.client.HTTPConnection(address, port, timeout=5)
            asked.request("GET", path, headers={"Host": host})
            answer = asked.getresponse()
            said = answer.read(1000).decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            return f"{address}:{port}: {error}"
        if answer.status != 200:
            return f"{address}:{port} answers {answer.status}: {said}"
    return ""


for url in sys.argv[1:]:
    parts = urlsplit(url)
    while told := wrong(parts.hostname, parts.port, parts.path):
        if time.monotonic() > deadline:
            sys.exit(f"{url} is not ready: {told}")
        time.sleep(1)
    print(f"{url} is ready")
