"""The server's certificate and key, and whose certificates clients must show; read again while the server runs.

Guarantees: new connections use the newest files that were good. Files that do not fit together, or cannot be read,
change nothing and are named in the log.
"""

from __future__ import annotations

import hashlib
import logging
import signal
import ssl
from pathlib import Path
from typing import Final

import trio

from vdb.config import ServiceSettings, TlsSettings
from vdb.errors import Misconfigured

log = logging.getLogger("vdb.tls")

# Hypercorn's connections speak nothing else here (see ``connections``).
_PROTOCOLS: Final = ["http/1.1"]


class Certificates:
    """Owns ``context``, which every new connection is made with; raises Misconfigured for files that are wrong."""

    def __init__(self, service: ServiceSettings, tls: TlsSettings) -> None:
        self._tls = tls
        self._verifies_clients = service.verify_https_client_certificate
        self._fingerprint = self._read_fingerprint()
        self.context = self._load(_new_context())

    async def keep_fresh(self) -> None:
        """Loads files that changed, every ``cert_ttl`` seconds and on SIGHUP; never returns."""
        async with trio.open_nursery() as nursery:
            if hasattr(signal, "SIGHUP"):
                nursery.start_soon(self._on_hangup)
            if self._tls.cert_ttl is not None:
                nursery.start_soon(self._every, self._tls.cert_ttl)
            await trio.sleep_forever()

    async def _on_hangup(self) -> None:
        with trio.open_signal_receiver(signal.SIGHUP) as received:
            async for _ in received:
                await self._refresh(asked=True)

    async def _every(self, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            await self._refresh(asked=False)

    async def _refresh(self, asked: bool) -> None:
        """A context is changed in place: connections that stand keep what they agreed on."""
        try:
            fingerprint = await trio.to_thread.run_sync(self._read_fingerprint)
            if fingerprint == self._fingerprint:
                if asked:
                    log.info("the certificate files have not changed")
                return
            # A key that does not fit would leave a context with the new certificate and the old key.
            await trio.to_thread.run_sync(self._load, _new_context())
            self._load(self.context)
        except Misconfigured as error:
            log.warning("keeping the certificate that was read before: %s", error)
            return
        self._fingerprint = fingerprint
        log.info("new connections use the certificate in %s", self._tls.cert)

    def _load(self, context: ssl.SSLContext) -> ssl.SSLContext:
        tls = self._tls
        assert tls.cert is not None, "the configuration was checked"
        try:
            # Without a password an encrypted key would be asked for on the terminal.
            context.load_cert_chain(tls.cert, tls.key, password="")
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"cannot use tls.cert {tls.cert} with tls.key {tls.key}: {_told(error)}") from error
        if self._verifies_clients:
            try:
                context.load_verify_locations(tls.ca_cert)
            except (OSError, ssl.SSLError) as error:
                raise Misconfigured(f"cannot use tls.ca_cert {tls.ca_cert}: {_told(error)}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _read_fingerprint(self) -> bytes:
        """Of all files together; raises Misconfigured for one that cannot be read."""
        digest = hashlib.sha256()
        for path in (self._tls.cert, self._tls.key, self._tls.ca_cert if self._verifies_clients else None):
            if path is not None:
                try:
                    digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
                except OSError as error:
                    raise Misconfigured(f"{path}: {error.strerror}") from error
        return digest.digest()


def _new_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_PROTOCOLS)
    return context


def _told(error: OSError) -> str:
    """OpenSSL's own words where it has some."""
    return error.reason if isinstance(error, ssl.SSLError) and error.reason else str(error)
