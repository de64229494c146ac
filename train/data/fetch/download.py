"""One segment from the web: yt-dlp finds the streams, the segment is cut out of them; failures get a name."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import av

from avol.runtime.atomic import AtomicOutput, write_error
from avol.train.data.fetch.cutting import LARGEST_HEIGHT, NotCutError, Streams, cut_segment
from avol.train.data.fetch.segments import Segment

# Pictures and sound apart, as YouTube keeps them, small; else together. Plain files, in which one can seek.
FORMATS = (
    f"bestvideo[height<={LARGEST_HEIGHT}][protocol^=http]+bestaudio[protocol^=http]"
    f"/best[height<={LARGEST_HEIGHT}][protocol^=http]/best[protocol^=http]/bestvideo+bestaudio/best"
)
JAVASCRIPT_RUNTIMES = {"deno": "deno", "node": "node", "bun": "bun", "quickjs": "qjs"}  # yt-dlp's name, the program's
REASON_LETTERS = 160

FETCHED = "fetched"
FINAL = ("gone", "private", "age-restricted", "region-blocked", "members only", "no such segment")
BLOCKED = "blocked"
FAILED = "failed"

# What sites say, most telling first: a video that a country may not see is also called unavailable.
_SAID = (
    (BLOCKED, r"not a bot|HTTP Error 429|Too Many Requests|rate.?limit|unusual traffic|captcha"),
    ("region-blocked", r"in your country|geo.?(restrict|block)|from your location"),
    ("age-restricted", r"confirm your age|age.restricted|inappropriate for some users"),
    (
        "members only",
        r"members.only|join this channel|requires payment|available to (this channel's )?members|purchase",
    ),
    ("private", r"private video|video is private|is private"),
    (
        "gone",
        r"video unavailable|has been removed|no longer available|been terminated|account .*closed|does not exist|"
        r"not available|HTTP Error (404|410)|\b(404|410)\b.*not found|deleted|copyright",
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What became of a segment: ``fetched``, a name of :data:`FINAL`, ``blocked`` or ``failed``; and why, in a line."""

    status: str
    reason: str = ""

    @property
    def is_final(self) -> bool:
        """Whether asking again is of no use."""
        return self.status == FETCHED or self.status in FINAL


class Fetch(Protocol):
    """Gets one segment into a file."""

    def __call__(self, segment: Segment, path: Path) -> Outcome:
        """Write the clip under its name when it is complete.

        Raises:
            AvolError: it cannot be written: what fetches no more can stop.
        """


def fetch_segment(segment: Segment, path: Path, *, find: Callable[[str], Mapping[str, Any]] | None = None) -> Outcome:
    """Fetch a segment.

    Args:
        segment: which seconds of which video.
        path: of the clip.
        find: from an address to yt-dlp's description of a video; yt-dlp itself if None.

    Raises:
        AvolError: the clip cannot be written.
    """
    try:
        streams = streams_of((find or _find)(segment.url))
    except Exception as error:
        # Beside yt-dlp's own types its hundreds of extractors raise anything; it concerns this video alone.
        return outcome_of(str(error))
    with AtomicOutput(path) as output:
        try:
            cut_segment(streams, segment.start_seconds, segment.end_seconds, output.temporary)
        except NotCutError as error:
            return Outcome("no such segment", str(error))
        except av.FFmpegError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise write_error(path, OSError(error.errno, "")) from None
            return outcome_of(_http_words(error))
        output.commit()
    return Outcome(FETCHED)


def streams_of(found: Mapping[str, Any]) -> Streams:
    """Addresses in yt-dlp's description of a video.

    Raises:
        ValueError: it describes no video.
    """
    entries = found.get("entries")
    if entries is not None:
        entries = list(entries)
        if len(entries) != 1:
            raise ValueError(f"the address holds {len(entries)} videos, not one")
        return streams_of(entries[0])
    parts = found.get("requested_formats") or [found]
    if not all(part.get("url") for part in parts):
        raise ValueError("the site gave no address of a stream")
    pictures = next((part for part in parts if part.get("vcodec") != "none"), parts[0])
    sound = next((part for part in parts if part.get("acodec") != "none" and part is not pictures), pictures)
    return Streams(pictures=pictures["url"], sound=sound["url"], headers=pictures.get("http_headers") or {})


def outcome_of(message: str) -> Outcome:
    """The name of a failure from what was said of it."""
    reason = re.sub(r"\x1b\[[0-9;]*m", "", message).replace("ERROR: ", "")
    reason = " ".join(reason.split())[:REASON_LETTERS]
    for status, pattern in _SAID:
        if re.search(pattern, reason, re.IGNORECASE):
            return Outcome(status, reason)
    return Outcome(FAILED, reason or "no reason was given")


def lacks_javascript() -> bool:
    """Whether yt-dlp finds no JavaScript runtime, without which YouTube gives few or no streams."""
    return not any(map(shutil.which, JAVASCRIPT_RUNTIMES.values()))


def _find(url: str) -> Mapping[str, Any]:
    import yt_dlp

    options: dict[str, Any] = {
        "format": FORMATS,
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "noplaylist": True,
        "skip_download": True,
        "logger": _Silent(),
        "retries": 2,
        "extractor_retries": 1,
        "socket_timeout": 20,
        "cachedir": False,
        "js_runtimes": {name: {} for name, program in JAVASCRIPT_RUNTIMES.items() if shutil.which(program)},
    }
    with yt_dlp.YoutubeDL(options) as downloader:
        found: Mapping[str, Any] = downloader.extract_info(url, download=False)
        return found


class _Silent:
    """yt-dlp's messages come as exceptions; on the terminal they would run through the progress bar."""

    def debug(self, message: str) -> None:
        """Nothing."""

    info = warning = error = debug


def _http_words(error: av.FFmpegError) -> str:
    """FFmpeg's HTTP errors in the words that sites use."""
    words = {
        "HTTPNotFoundError": "HTTP Error 404: not found",
        "HTTPForbiddenError": "HTTP Error 403: forbidden",
        "HTTPTooManyRequestsError": "HTTP Error 429: Too Many Requests",
    }
    return words.get(type(error).__name__, f"the stream cannot be read ({error.strerror or error})")
