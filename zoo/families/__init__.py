"""One file per family. A file here registers its variants when it is imported."""
