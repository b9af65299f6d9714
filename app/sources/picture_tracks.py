"""Which of a container's picture tracks is the film: cover art, previews and tiles are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bodycast.app.errors import UsageError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

DEFAULT, ATTACHED_PICTURE, TIMED_THUMBNAILS, DEPENDENT = 1 << 0, 1 << 10, 1 << 11, 1 << 19
"""FFmpeg's AV_DISPOSITION bits."""
_SIDE_TRACKS = sum(1 << bit for bit in (1, 2, 3, 6, 7, 8, 9))  # dub, original, comment, and those for other senses
MOST_PIXELS = 36_000_000
"""A little more than those of 8K."""
STILL_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpegls", "jpeg2000", "libopenjpeg")
"""Cover art is in one of these, without any flag in many a file."""
_FEW_SHARE = 0.25
_PREVIEW_SHARE = 0.25
"""A default track with fewer pixels than this share of the largest one's is a preview."""


def picture_track(container: InputContainer, shown: str) -> VideoStream:
    """The track to read. shown: the file's name in messages.

    Raises: UsageError where there is none, or the pictures are tiles of one.
    """
    tracks = list(container.streams.video)
    known = [track for track in tracks if cast("object", track.codec_context) is not None]
    if tracks and not known:
        raise UsageError(f"{shown}: its pictures are coded in a way that is not known here; convert it to MP4 (H.264)")
    tracks = known
    if not tracks:
        raise UsageError(f"{shown}: the file has no video track; give a video")
    whole = [track for track in tracks if not _flags(track) & DEPENDENT]
    if not whole:
        raise UsageError(
            f"{shown}: a photograph in {len(tracks)} tiles (HEIC, AVIF), which cannot be put together here; "
            "convert it to JPEG or PNG"
        )
    films = [track for track in whole if not _flags(track) & (ATTACHED_PICTURE | TIMED_THUMBNAILS)]
    if not films:
        raise UsageError(f"{shown}: no video, only cover art; give a video")
    films = [track for track in films if _pixels(track) <= MOST_PIXELS]
    if not films:
        most = MOST_PIXELS // 1_000_000
        raise UsageError(f"{shown}: its pictures are larger than {most} megapixels; make them smaller")
    largest = max(_pixels(track) for track in films)
    longest = max(track.frames for track in films)

    def merit(track: VideoStream) -> tuple[bool, bool, bool, int]:
        default = bool(_flags(track) & DEFAULT) and _pixels(track) >= _PREVIEW_SHARE * largest
        return _is_film(track, longest), not _flags(track) & _SIDE_TRACKS, default, _pixels(track)

    return max(films, key=merit)


def _is_film(track: VideoStream, longest: int) -> bool:
    """Not a picture or two beside a film of `longest` frames. Matroska counts no frames: there the coding tells."""
    if track.frames:
        return track.frames > _FEW_SHARE * longest and track.frames != 1
    return track.codec_context.name not in STILL_CODECS


def limit_size(track: VideoStream) -> None:
    """Let the decoder refuse pictures that are larger than MOST_PIXELS, whatever their own headers say."""
    track.codec_context.options = {**track.codec_context.options, "max_pixels": str(MOST_PIXELS)}


def _flags(track: VideoStream) -> int:
    return int(track.disposition.value)


def _pixels(track: VideoStream) -> int:
    return track.codec_context.width * track.codec_context.height
