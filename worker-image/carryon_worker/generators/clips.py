"""Clips as files, with sound where there is some: equal frames become equal bytes.

Measured with PyAV 18.1 (FFmpeg 8) on ten clips each with seven fillings of fresh memory (MALLOC_PERTURB_): all codecs
here gave the same bytes every time. H.265 is left out: libx265 4 wrote other bytes for the same frames whatever was
switched off, and beyond its memory with its cutree, which ended the process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from carryon_worker.failures import BadRequest
from carryon_worker.generators import sounds
from carryon_worker.generators.media import Pixels, read_frames, to_pixels
from carryon_worker.generators.sounds import Sound

_log = logging.getLogger(__name__)

_BT709: Final = 1
_LIMITED_RANGE: Final = 1
_THREADS: Final = 1
"""What encoders write depends on the number of threads. Clips this short gain nothing from more."""
# SVT-AV1 tells of itself on stderr unless it is asked for errors alone.
os.environ.setdefault("SVT_LOG", "1")


@dataclass(frozen=True, slots=True)
class Codec:
    """How frames are written.

    Attributes:
        encoder: Of FFmpeg.
        container: Format of the file.
        suffix: What its name ends in.
        pixels: How colours are stored.
        options: Of the encoder.
        crf: Constant rate factor where nothing else is asked for; None where the codec has none.
        sound: Encoder of the sound beside the frames.
    """

    encoder: str
    container: str
    suffix: str
    pixels: str
    options: Mapping[str, str]
    crf: int | None
    sound: sounds.Coding


CODECS: Final[Mapping[str, Codec]] = {
    # x264's macroblock tree reads memory that nobody wrote: the same frames came out in other bytes, for five clips of
    # nine with other fillings of fresh memory, and for none without the tree.
    "h264": Codec("libx264", "mp4", "mp4", "yuv420p", {"x264-params": "mbtree=0"}, 18, sounds.AAC),
    "vp9": Codec(
        "libvpx-vp9", "webm", "webm", "yuv420p", {"b:v": "0", "row-mt": "0", "cpu-used": "3"}, 24, sounds.OPUS
    ),
    "av1": Codec("libsvtav1", "mp4", "mp4", "yuv420p", {"preset": "8", "svtav1-params": "lp=1"}, 24, sounds.AAC),
    "ffv1": Codec("ffv1", "matroska", "mkv", "bgr0", {"level": "3", "slices": "4", "slicecrc": "1"}, None, sounds.FLAC),
    "prores": Codec("prores_ks", "mov", "mov", "yuv422p10le", {"profile": "hq"}, None, sounds.PCM),
}
"""What a clip may be written as; each in the container that fits. No more than what was found to be deterministic."""
_IN_RGB: Final = "bgr0"


def write_clip(
    path: Path,
    frames: Sequence[Any],
    fps: int | Fraction,
    metadata: Mapping[str, str],
    codec: str = "h264",
    crf: int | None = None,
    sound: Sound | None = None,
) -> None:
    """Write frames of one size; as H.264 it plays everywhere: 4:2:0, even sides, index at the front.

    Args:
        path: Where to.
        frames: What `to_pixels` takes.
        fps: Frames per second.
        metadata: Keys that the containers have, such as title and comment.
        codec: Of `CODECS`.
        crf: Constant rate factor, less is better; the codec's usual one if None.
        sound: Beside the frames.

    Raises:
        BadRequest: The codec can't write frames of this size.
        UnitFailure: A frame is no picture.
    """
    how = CODECS[codec]
    pictures = [to_pixels(frame) if how.pixels == _IN_RGB else _even(to_pixels(frame)) for frame in frames]
    with _scheduled_as_before(), _open(path, how, metadata) as container:
        stream = _stream(container, how, fps, pictures[0].shape[:2], crf)
        track = None if sound is None else sounds.Track(container, how.sound, sound)
        try:
            stream.codec_context.open()
        except av.FFmpegError as error:
            height, width = pictures[0].shape[:2]
            raise BadRequest(
                f"{codec} can't write clips of {width} x {height}: {error.strerror}; choose another codec"
            ) from None
        for number, picture in enumerate(pictures, start=1):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            colours = None if how.pixels == _IN_RGB else "ITU709"
            for packet in stream.encode(frame.reformat(format=how.pixels, dst_colorspace=colours, threads=_THREADS)):
                container.mux(packet)
            if track is not None:
                track.until(float(number / fps))
        for packet in stream.encode():
            container.mux(packet)
        if track is not None:
            track.end()


def write_longer(
    path: Path, before: Path, frames: Sequence[Any], metadata: Mapping[str, str], codec: str, crf: int | None
) -> None:
    """Write a clip that begins as another does, at its frame rate.

    What there was is taken over as it lies in its file, so that its frames are the same to the bit, where codec, size
    and settings are the same; else it is decoded and written anew.

    Args:
        path: Where to.
        before: File of the clip that it begins as.
        frames: What follows, as `to_pixels` takes it.
        metadata: As of `write_clip`.
        codec: Of `CODECS`.
        crf: As of `write_clip`.
    """
    with av.open(str(before)) as container:
        rate = container.streams.video[0].average_rate
    if rate is None:
        raise BadRequest(f"{before.name} does not say how many frames a second has")
    added = path.with_name(f"added-{path.name}")
    try:
        write_clip(added, frames, rate, metadata, codec, crf)
        if not _join(path, (before, added), CODECS[codec], metadata):
            _log.info("%s is of another kind than what follows: it is written anew", before.name)
            write_clip(path, [*read_frames(before), *frames], rate, metadata, codec, crf)
    finally:
        added.unlink(missing_ok=True)


def _join(path: Path, parts: Sequence[Path], how: Codec, metadata: Mapping[str, str]) -> bool:
    """Write the packets of several files one after another; whether they fit."""
    with ExitStack() as opened:
        containers = [opened.enter_context(av.open(str(part))) for part in parts]
        streams = [container.streams.video[0] for container in containers]
        if len({_kind(container, stream) for container, stream in zip(containers, streams, strict=True)}) > 1:
            return False
        target = opened.enter_context(_open(path, how, metadata))
        stream = target.add_stream_from_template(streams[0], opaque=True)
        shift = 0
        for container, source in zip(containers, streams, strict=True):
            end = shift
            for packet in container.demux(source):
                if packet.dts is None or packet.pts is None:
                    # The empty one at the end.
                    continue
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                end = max(end, packet.pts + (packet.duration or 0))
                target.mux(packet)
            shift = end
    return True


def _kind(container: Any, stream: Any) -> tuple[Any, ...]:
    """What two streams must have in common for one to follow the other."""
    context = stream.codec_context
    return (
        container.format.name,
        context.codec.canonical_name,
        (context.width, context.height, context.pix_fmt),
        context.extradata,
        stream.time_base,
        stream.average_rate,
    )


def _open(path: Path, how: Codec, metadata: Mapping[str, str]) -> Any:
    # Bit-exact: no time, no version of the muxer in the file.
    options = {"fflags": "+bitexact", **({"movflags": "+faststart"} if how.container in ("mp4", "mov") else {})}
    container = av.open(str(path), "w", format=how.container, options=options)
    container.metadata.update(metadata)
    return container


def _stream(container: Any, how: Codec, fps: int | Fraction, size: tuple[int, ...], crf: int | None) -> Any:
    stream = container.add_stream(how.encoder, rate=Fraction(fps))
    stream.height, stream.width = size
    stream.pix_fmt = how.pixels
    rate = how.crf if crf is None else crf
    stream.options = {
        "threads": str(_THREADS),
        **how.options,
        **({} if how.crf is None else {"crf": str(rate)}),
    }
    if how.pixels != _IN_RGB:
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
    return stream


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """Leave the thread's scheduling as it was: SVT-AV1 makes whoever opens it a real-time thread, where it may (root).

    It would stay one for good, and hand that down to what it starts.
    """
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, param)


def _even(picture: Pixels) -> Pixels:
    """4:2:0 halves both sides: odd ones get their last row or column twice."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
