"""A client of the API, for programs: one that waits and one for asyncio, over the same calls.

>>> from shieldwall.client import Client, Credentials, calls          # doctest: +SKIP
>>> me = Credentials("contoso.com", client_id, secret)                # doctest: +SKIP
>>> with Client("https://edr.example.org", me) as client:             # doctest: +SKIP
...     for machine in client.each(calls.machines(filter="healthStatus eq 'Active'")):
...         client.send(calls.isolate(machine["id"], "ransomware"))

A call is data that says what to ask and what comes back; ``send`` makes it, ``each`` goes through all pages
of a list. Tokens are fetched and kept; 429 and failures of the server are tried again after ``Retry-After``.
"""

from shieldwall.client import calls
from shieldwall.client.asynchronous import AsyncClient
from shieldwall.client.calls import Call, Listing
from shieldwall.client.errors import ClientError, RequestFailed, SignInFailed
from shieldwall.client.protocol import Credentials, Retries
from shieldwall.client.synchronous import Client

__all__ = [
    "AsyncClient",
    "Call",
    "Client",
    "ClientError",
    "Credentials",
    "Listing",
    "RequestFailed",
    "Retries",
    "SignInFailed",
    "calls",
]
