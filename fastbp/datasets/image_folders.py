"""Reading of folders of images that have one sub-folder per class. The images are decoded by Pillow."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastbp.datasets.rows_and_labels import Advance
from fastbp.errors import InputError, one_line
from fastbp.files.reading import bad_file, display_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_MOST_PIXELS = 2**22  # in one image; a fully connected network could not use as many inputs


def image_files(folder: Path) -> list[tuple[Path, str]]:
    """Return the path and the class of each image in the sub-folders of a folder, in sorted order.

    The class is the name of the sub-folder.
    """
    classes = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    found = ((path, sub.name) for sub in classes for path in sorted(sub.iterdir()))
    return [(path, name) for path, name in found if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]


def read_images_of_classes(
    folder: Path, files: list[tuple[Path, str]], advance: Advance | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Return the images as rows of bytes, and the class of each image.

    Grey images give one input per pixel. If one of the images has colours, all give three inputs per pixel: red, green
    and blue. Transparency is ignored. Raises `InputError` if an image is damaged or has more than 8 bits per colour, or
    if its size differs from the size of the first image.
    """
    if find_spec("PIL") is None:
        raise InputError(
            f"{display_path(folder)}: images need Pillow, which is not installed: pip install 'fastbp[images]'"
        )
    modes, size = set(), None
    for path, image in _opened(files):
        size = size or image.size
        if image.size != size:
            found = f"has {image.size[0]} × {image.size[1]} pixels"
            raise bad_file(path, found, f"{size[0]} × {size[1]}, as in {files[0][0].name}: resize the images")
        if image.mode.startswith(("I", "F")):
            raise bad_file(path, "has more than 8 bits per pixel", "8 bits per pixel and colour: convert the images")
        modes.add(image.mode)
    assert size is not None
    if size[0] * size[1] > _MOST_PIXELS:
        found = f"has {size[0]} × {size[1]} pixels"
        raise bad_file(files[0][0], found, f"at most {_MOST_PIXELS:,} pixels: resize the images")
    mode = "L" if modes <= {"1", "L", "LA"} else "RGB"
    rows = np.empty((len(files), size[0] * size[1] * len(mode)), np.uint8)
    for row, (path, image) in zip(rows, _opened(files), strict=True):
        row[:] = np.asarray(image.convert(mode)).reshape(-1)
        if advance is not None:
            advance(path.stat().st_size)
    return rows, np.array([name for _, name in files], object)


def _opened(files: list[tuple[Path, str]]) -> Iterator[tuple[Path, Any]]:
    """Yield the path of each image, and the image, which is opened but not yet decoded.

    Errors of Pillow become `InputError`. This includes errors that occur while the caller decodes the image.
    """
    from PIL import Image

    for path, _ in files:
        try:
            with Image.open(path) as image:
                yield path, image
        except InputError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise bad_file(path, f"cannot be read ({one_line(error)})", "an image") from error
