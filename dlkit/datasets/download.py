"""Downloading a file so that it is either whole and verified, or not there at all."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["DownloadError", "download_verified"]

TIMEOUT_SECONDS = 15.0  # without a byte, not for the whole file
CHUNK = 1 << 16


class DownloadError(OSError):
    """No address gave the file; the message has one line for each address, with the reason."""


def download_verified(urls: Sequence[str], target: Path, *, md5: str) -> None:
    """Download a file from the first address that gives it with the right checksum.

    Args:
        urls: addresses of the same file, tried in order.
        target: where to write; left absent after a failure.
        md5: the checksum of the file, in hexadecimal.

    Raises:
        DownloadError: if every address failed (unreachable, refused, cut off, wrong checksum).
        OSError: if `target` cannot be written.

    Example:
        >>> download_verified([], Path("never-written"), md5="")
        Traceback (most recent call last):
        dlkit.datasets.download.DownloadError: there is no address to download never-written from
    """
    failures = []
    for url in urls:
        try:
            digest = _write(url, target)
            if digest == md5:
                return
            failures.append(f"{url}: checksum (md5) should be {md5}, but is {digest}")
        except DownloadError as error:
            failures.append(f"{url}: {error}")
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        target.unlink(missing_ok=True)
    raise DownloadError(
        "\n".join(failures) or f"there is no address to download {target.name} from"
    )


def _write(url: str, target: Path) -> str:
    """Write what `url` gives to `target` and return the md5 of it."""
    digest = hashlib.md5(usedforsecurity=False)
    with target.open("wb") as file:
        for chunk in _chunks(url):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _chunks(url: str) -> Iterator[bytes]:
    """Yield the content of `url`; whatever the network does wrong becomes a `DownloadError`.

    A generator, so that an error in *writing* a chunk (a full disk) is not taken for the network's.
    """
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            announced = response.headers.get("Content-Length")
            received = 0
            while chunk := response.read(CHUNK):
                received += len(chunk)
                yield chunk
    except urllib.error.HTTPError as error:
        raise DownloadError(f"the server answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadError(f"not reachable: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"the connection failed: {error!r}") from error
    # http.client returns short reads in silence when a server dies in the middle.
    if announced is not None and received < int(announced):
        raise DownloadError(f"the connection ended after {received} of {announced} bytes")
