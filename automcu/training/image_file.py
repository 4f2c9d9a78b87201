"""One encoded image file, from a folder or from a row of a Parquet file, as pixels. It is untrusted."""

from pathlib import Path
from typing import IO

import numpy as np

from automcu.architecture import Shape
from automcu.errors import DataError

_FORMATS = ("PNG", "WEBP", "JPEG", "BMP")
_MODES = {1: "L", 3: "RGB"}
_MOST_PIXELS = 50_000_000


def decode(source: Path | IO[bytes], where: str, shape: Shape, *, fit: bool = False) -> np.ndarray:
    """The pixels (uint8, of `shape`) of the file `source`, which messages call `where`. With `fit`, an image of another
    size or mode is scaled and converted; else it is refused, and nothing of it is unpacked.

    Raises `DataError` for a file that is no such image.
    """
    from PIL import Image, UnidentifiedImageError

    height, width, channels = shape
    if channels not in _MODES:
        raise DataError(f"images in files have 1 or 3 channels, not {channels}; correct task.input_shape")
    mode, pixels = _MODES[channels], None
    try:
        with Image.open(source, formats=_FORMATS) as image:
            found = (image.height, image.width, image.mode)  # known from the header
            if image.height * image.width > _MOST_PIXELS:
                raise DataError(f"{where} has over {_MOST_PIXELS:,} pixels; make it smaller")
            if fit:
                pixels = np.asarray(image.convert(mode).resize((width, height), Image.Resampling.BILINEAR))
            elif found == (height, width, mode):
                pixels = np.asarray(image)
    except DataError:
        raise
    except UnidentifiedImageError:  # it names the object in memory, not the file
        raise DataError(f"{where} is no {', '.join(_FORMATS)} image; replace it with one, or remove it") from None
    except Exception as error:  # a decoder that is fed rubbish may raise anything
        raise DataError(f"{where} cannot be decoded ({error}); replace it with an intact image, or remove it") from None
    if pixels is None:
        raise DataError(
            f"{where} is {found[0]}x{found[1]} of mode {found[2]}, but the task takes {height}x{width}x{channels}; "
            "scale and convert it (data.fit=true does, for images in folders), or correct task.input_shape"
        )
    return pixels.reshape(shape)
