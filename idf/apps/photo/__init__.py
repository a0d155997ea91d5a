"""One's own photos: `protect` infects their faces, `check` shows what forgers make of them.

files: read and written; search: faces found; align: cut out; put_back: a change of a face, in the
photo; protection: PG; plan and batch: many photos; overview: what was protected, in a picture;
register: a copy that a site changed, brought back; check: the forgeries; measure: the numbers;
survival: those by the size of the face and by what is done to the copy.
The photo never leaves the machine: nothing here opens a connection.
"""

from idf.apps.photo.align import LEAST_SIDE, aligned
from idf.apps.photo.files import SUFFIXES, Photo, open_photo
from idf.apps.photo.protection import protect
from idf.apps.photo.search import find_faces, finder

__all__ = [
    "LEAST_SIDE",
    "SUFFIXES",
    "Photo",
    "aligned",
    "find_faces",
    "finder",
    "open_photo",
    "protect",
]
