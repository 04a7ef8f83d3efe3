"""The files of an ISO image, as a guest sees its config drive: under the names that Linux shows (Rock Ridge)."""

from io import BytesIO

import pycdlib


def read_iso(image: bytes) -> dict[str, bytes]:
    """Return every file of the image by its path, without the leading slash.

    Raises:
        pycdlib.pycdlibexception.PyCdlibException: the image is no ISO 9660 image.
    """
    iso = pycdlib.PyCdlib()
    iso.open_fp(BytesIO(image))
    try:
        view = "rr_path" if iso.has_rock_ridge() else "joliet_path" if iso.has_joliet() else "iso_path"
        files = {}
        for folder, _, names in iso.walk(**{view: "/"}):
            for name in names:
                path = f"{folder.rstrip('/')}/{name}"
                content = BytesIO()
                iso.get_file_from_iso_fp(content, **{view: path})
                files[path.removeprefix("/")] = content.getvalue()
        return files
    finally:
        iso.close()
