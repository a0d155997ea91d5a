import sys

from idf.apps.explorer.server import serve

serve(sys.argv[1:])
