"""Pictures and videos in the forms that browsers show: PNG and H.264 in MP4."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError

TALLEST = 480  # [pixel] videos are shown half a page wide; more would only cost space
OPTIONS = {"preset": "veryfast", "crf": "26", "g": "50"}


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """A picture, uint8, shape [height, width, 3], as a PNG file.

    Raises:
        InputError: the array is no such picture.
    """
    import av

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"image is {image.dtype} {image.shape}; a PNG is made of uint8 [height, width, 3]")
    encoder = av.VideoCodecContext.create("png", "w")
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.options = "rgb24", Fraction(1), {"pred": "mixed"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def contact_sheet(images: NDArray[np.uint8], captions: Sequence[str], columns: int) -> NDArray[np.uint8]:
    """Tile n pictures, uint8, shape [n, height, width, 3], row by row; places left over stay white.

    The captions are not drawn; a page shows them beside the sheet, by number.

    Raises:
        InputError: no pictures, another number of captions than of pictures, or no columns.
    """
    if images.ndim != 4 or not len(images) or images.shape[3] != 3:
        raise InputError(f"images have shape {images.shape}; a contact sheet takes [n, height, width, 3] with n > 0")
    if len(captions) != len(images):
        raise InputError(f"{len(captions)} captions for {len(images)} images; a contact sheet needs one each")
    if columns < 1:
        raise InputError(f"columns = {columns}: a contact sheet needs at least one")
    n, height, width, _ = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    tiles = np.full((rows * columns, height, width, 3), 255, np.uint8)
    tiles[:n] = images
    return tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)


def browser_mp4(path: Path, limit: int) -> bytes:
    """A video that every browser plays, of about `limit` bytes at most.

    H.264 that is small enough is taken as it is. Anything else is encoded again, since not every browser plays AV1; the
    quality follows from the limit where that binds.

    Raises:
        InputError: the file is missing or holds no video.
    """
    import av

    try:
        with av.open(str(path)) as source:
            stream = source.streams.video[0]
            small = path.stat().st_size <= limit
            if stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p" and small:
                return path.read_bytes()
            rate = stream.average_rate or Fraction(10)
            seconds = float(source.duration or 1_000_000) / 1e6
            scale = min(1.0, TALLEST / stream.height)
            width, height = (2 * round(side * scale / 2) for side in (stream.width, stream.height))
            # Nine tenths: the MP4 container and the encoder's own slack need room, too.
            bits_per_second = str(max(int(0.9 * limit * 8 / seconds), 10_000))
            buffer = io.BytesIO()
            with av.open(buffer, "w", format="mp4") as target:
                options = {**OPTIONS, "maxrate": bits_per_second, "bufsize": bits_per_second}
                encoder = target.add_stream("libx264", rate=rate, options=options)
                encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
                for number, frame in enumerate(source.decode(stream)):
                    picture = frame.reformat(width, height, "yuv420p")
                    picture.pts, picture.time_base = number, 1 / rate
                    # The encoder would keep the source's choice of frame types, which are all key frames.
                    picture.pict_type = 0
                    target.mux(encoder.encode(picture))
                target.mux(encoder.encode(None))
            return buffer.getvalue()
    except (OSError, IndexError) as error:
        raise InputError(f"{path}: holds no video that can be read ({error})") from None
