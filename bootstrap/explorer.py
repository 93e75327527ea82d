"""Makes of deck.gl's package the one file that pages have in them: its licence and its program, compressed.

    explorer.py PACKAGE SHA256 TARGET
"""

import gzip
import hashlib
import pathlib
import sys
import tarfile

package, sha256, target = sys.argv[1:]
found = hashlib.sha256(pathlib.Path(package).read_bytes()).hexdigest()
if found != sha256:
    sys.exit(f"error: {package}: SHA-256 is {found}, not {sha256}")
with tarfile.open(package) as tar:
    licence, program = (tar.extractfile(f"package/{name}").read().decode() for name in ("LICENSE", "dist.min.js"))
part = pathlib.Path(target + ".part")
part.write_bytes(gzip.compress(f"/*!\n{licence}*/\n{program}".encode(), mtime=0))
part.replace(target)
