"""Fetching what a service says that it made: an address comes from outside, so it is not simply followed.

Only http and https; at most five redirects, each looked at like the first address; the size is limited. An address
may lead into a private network (loopback, link-local, private and reserved ranges) only when it has the host and port
of the service itself, which the user has named. A name is resolved once, checked, and the connection goes to the
checked address, so that a name cannot change its meaning in between. The service's key goes to the service only.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
import urllib.request

import httpx2

from paragone.data.generators.http_service import MAX_BYTES, RequestFailed, Service

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
GONE = (403, 404, 410)
DOWNLOAD_S = 120.0


def fetch_output(url: str, service: Service, *, limit: int = MAX_BYTES) -> bytes:
    """The bytes at an address that `service` gave, or in a `data:` URL; raises `RequestFailed`."""
    if url.startswith("data:"):
        return from_base64(url)
    for _ in range(MOST_REDIRECTS + 1):
        target = _parsed(url)
        if (target.scheme, target.host, target.port) == service.origin:
            reply = service.send("GET", url, limit=limit, accept=(*REDIRECTS, *GONE))
            code, content, location = reply.code, reply.content, reply.headers.get("location")
        else:
            code, content, location = _get(target, limit)
        if code in REDIRECTS and location:
            url = str(target.join(location))
        elif code == httpx2.codes.OK:
            return content
        else:
            gone = "; the address has expired" if code in GONE else ""
            raise RequestFailed(f"the output at {target.host} cannot be fetched: HTTP {code}{gone}", code=code)
    raise RequestFailed(f"the output's address leads through more than {MOST_REDIRECTS} redirects")


def from_base64(text: str) -> bytes:
    """Decode base64, with or without `data:…;base64,` before it, line breaks within, or padding after it."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise RequestFailed("the output is a data: URL without base64")
    text = re.sub(r"\s+", "", text)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestFailed(f"the output is no base64: {error}") from error


def public_address(host: str, port: int) -> str:
    """An address of `host` that lies in no private network; raises `RequestFailed` when one of them does."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise RequestFailed(f"the output's host {host!r} is not known: {error}") from error
    for address in sorted(found):
        if not _is_public(address):
            raise RequestFailed(f"the output's address {host} lies in a private network ({address}); not fetched")
    return min(found, key=lambda address: (":" in address, address))  # IPv4 first: it is there everywhere


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_global and not found.is_multicast


def _get(url: httpx2.URL, limit: int) -> tuple[int, bytes, str | None]:
    port = url.port or (443 if url.scheme == "https" else 80)
    address = public_address(url.host, port)
    proxied = url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(url.host)
    request = httpx2.Request("GET", url)
    if not proxied:  # a proxy resolves the name itself
        host = url.netloc.decode("ascii")
        request = httpx2.Request(
            "GET", url.copy_with(host=address), headers={"Host": host}, extensions={"sni_hostname": url.host}
        )
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), DOWNLOAD_S)
    try:
        with httpx2.Client(trust_env=proxied) as client:
            response = client.send(request, stream=True, follow_redirects=False)
            try:
                parts, size = [], 0
                for chunk in response.iter_bytes():
                    size += len(chunk)
                    if size > limit:
                        raise RequestFailed(f"the output at {url.host} is over {limit >> 20} MB; it was not read")
                    parts.append(chunk)
            finally:
                response.close()
    except httpx2.TransportError as error:
        raise RequestFailed(f"the output at {url.host} cannot be fetched: {type(error).__name__}: {error}") from error
    return response.status_code, b"".join(parts), response.headers.get("location")


def _parsed(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError) as error:
        raise RequestFailed(f"the output's address {str(url)[:80]!r} is none: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise RequestFailed(f"the output's address {str(url)[:80]!r} is not of http or https; not fetched")
    return parsed
