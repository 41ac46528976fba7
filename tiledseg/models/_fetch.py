"""Models at a URL: fetched only when asked, checked against a sha256, kept in the user's cache."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from ..errors import ConfigError, DamagedInput, OutputFailed, TiledsegError
from ._cache import cache_folder, known_sha256

_URL = re.compile(r"(https?|hf):/")
#: A revision with a slash is one of the hub's own, or written with %2F.
_HF = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@(refs/(?:pr|convert)/[^/@]+|[^/@]+))?/([^@]+)")
_HUB = "https://huggingface.co"
#: Seconds without a byte after which a server is given up, and bytes of one read.
_PATIENCE, _READ = 60.0, 1 << 20
#: What opens an address: nothing for file:// or ftp://, to where an answer may redirect.
_HANDLERS: tuple[type[urllib.request.BaseHandler], ...] = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)
#: Bytes beyond which no model is fetched.
_LARGEST = 64_000_000_000


def is_url(source: str | Path) -> bool:
    """Return whether a model is named by ``http://``, ``https://`` or ``hf://``."""
    return _URL.match(str(source)) is not None


def fetch(url: str, sha256: str | None) -> Path:
    """Return the file of a URL, from the cache where it is there already.

    Args:
        url: ``https://...``, ``http://...``, or ``hf://OWNER/REPOSITORY[@REVISION]/FILE`` for a
            file on the Hugging Face hub.
        sha256: What the file's must be, in hexadecimal.

    Raises:
        ConfigError: No sha256 is given, or the server does not give the file.
        DamagedInput: The file is another one.
        OutputFailed: The cache cannot be written.
    """
    if sha256 is None or not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ConfigError(
            f"{url} is fetched only to be checked: give the sha256 of the file with --sha256, 64 "
            f"hexadecimal digits{'' if sha256 is None else f', found {sha256!r:.80}'}"
        )
    place, wanted = _place(url), sha256.lower()
    if place.is_file() and known_sha256(place) == wanted:
        return place
    partial = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with partial.open("wb") as file:
            for block in _blocks(_address(url)):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != wanted:
            raise DamagedInput(
                f"{url} is refused: its sha256 is {digest.hexdigest()}, asked for was {wanted}; it "
                "is another file, or was cut or changed on the way"
            )
        return partial.replace(place)
    except TiledsegError:
        raise
    except OSError as error:
        raise OutputFailed(
            f"{url} cannot be kept in the cache {place.parent} ({error.strerror}): point "
            "TILEDSEG_CACHE at a folder that can be written"
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def fetched(url: str) -> Path | None:
    """Return the file of a URL where it was fetched before; never asks the network."""
    place = _place(url)
    return place if place.is_file() else None


def _place(url: str) -> Path:
    """Return where the file of a URL lies in the cache.

    Raises:
        ConfigError: It is no URL.
    """
    try:
        path, key = urlsplit(url).path, hashlib.sha256(url.encode()).hexdigest()[:32]
    except ValueError as error:
        raise ConfigError(f"{url!r:.200} is no URL: {error}") from None
    name = re.sub("[^A-Za-z0-9._-]", "_", PurePosixPath(path).name).lstrip(".")
    return cache_folder() / "fetched" / key / (name[-100:] or "model")


def _address(url: str) -> str:
    """Return the address that is asked.

    Raises:
        ConfigError: It is no address of the kinds that are fetched.
    """
    if not url.startswith("hf://"):
        return url
    found = _HF.fullmatch(url)
    if found is None:
        raise ConfigError(f"{url!r:.200} is not of the form hf://OWNER/REPOSITORY[@REVISION]/FILE")
    repository, revision, file = found.groups()
    named = quote(unquote(revision or "main"), safe="")
    return f"{_HUB}/{repository}/resolve/{named}/{quote(file)}"


def _blocks(address: str) -> Iterator[bytes]:
    """Yield what an address gives.

    Raises:
        ConfigError: It gives nothing, or too much, or breaks off.
    """
    opener, size = urllib.request.OpenerDirector(), 0
    for handler in _HANDLERS:
        opener.add_handler(handler())
    try:
        with opener.open(address, timeout=_PATIENCE) as answer:
            while block := answer.read(_READ):
                size += len(block)
                if size > _LARGEST:
                    raise ConfigError(f"{address} is refused: it is larger than {_LARGEST} bytes")
                yield block
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"{address:.300} cannot be fetched: {reason}") from None
