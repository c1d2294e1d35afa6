"""Camera images as MP4: encoded while they come, counted for statistics on the way, and read back.

H.264 (x264, yuv420p, a key frame every second image), which LeRobot reads as well as the AV1 that it writes itself. AV1
at LeRobot's settings (crf 30, preset 12) is not followed: between key frames it hardly gets what moved. Of a carton
carried through a 128 x 128 picture, 98 % of those images showed the moving pixels nearer to the image before than to
their own, which misleads whoever learns motion from images; and it encodes three to five times fewer images a second.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError

CODEC = "libx264"
PIXEL_FORMAT = "yuv420p"
# One encoder thread: rollouts run an encoder per camera and world, and the cores are busy with physics. Tuned without
# lookahead: with it, one in a few hundred encodings of the same small images came out with other bytes.
OPTIONS = {"g": "2", "crf": "18", "preset": "veryfast", "tune": "zerolatency", "threads": "1"}


class VideoSink:
    """Encodes one episode of one camera; holds the compressed video and a histogram, never the raw images.

    The same images give the same bytes. `histogram` counts the values of each colour, shape [3, 256].
    """

    def __init__(self, height: int, width: int, fps: int) -> None:
        """Open an encoder for images of `height` x `width` pixels at `fps` images a second."""
        import av

        self.shape = (height, width, 3)
        self.length = 0
        self.histogram = np.zeros((3, 256), np.int64)
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="mp4")
        self._stream = self._container.add_stream(CODEC, rate=fps, options=OPTIONS)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, PIXEL_FORMAT

    def write(self, image: NDArray[np.uint8]) -> None:
        """Append an image, uint8, shape [height, width, 3]."""
        import av

        if image.shape != self.shape or image.dtype != np.uint8:
            raise ValueError(f"image is {image.dtype} {image.shape}, the video takes uint8 {self.shape}")
        image = np.ascontiguousarray(image)
        for channel in range(3):
            self.histogram[channel] += np.bincount(image[..., channel].ravel(), minlength=256)
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        self.length += 1

    def close(self) -> bytes:
        """Finish the video and return the MP4 file's bytes."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._buffer.getvalue()


def read_video(path: Path, start: int, stop: int) -> NDArray[np.uint8]:
    """Images start..stop-1 of a video, uint8, shape [stop - start, height, width, 3].

    Raises:
        InputError: the file does not hold that many images.
    """
    import av

    images: list[NDArray[np.uint8]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        assert stream.average_rate is not None
        ticks_per_image = 1 / (stream.average_rate * stream.time_base)
        if start > 0:
            container.seek(round(start * ticks_per_image), stream=stream)  # lands on the key frame before
        for frame in container.decode(stream):
            number = round((frame.pts or 0) / ticks_per_image)
            if number >= stop:
                break
            if number >= start:
                images.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    if len(images) != stop - start:
        raise InputError(f"{path}: holds {len(images)} of the images {start}..{stop - 1}; the file was cut short")
    return np.stack(images) if images else np.zeros((0, 0, 0, 3), np.uint8)


def is_whole_mp4(path: Path) -> bool:
    """Whether the boxes of an MP4 file add up to its size and include the index; cheap, nothing is decoded."""
    size = path.stat().st_size
    position, boxes = 0, set()
    with path.open("rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(16)
            length = int.from_bytes(header[:4], "big")
            if length == 1:  # a 64-bit length follows
                length = int.from_bytes(header[8:16], "big")
            if len(header) < 8 or length < 8:
                return False
            boxes.add(header[4:8])
            position += length
    return position == size and {b"moov", b"mdat"} <= boxes
