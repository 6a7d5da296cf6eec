"""The packed store: pre-composited samples, decoded once, at every size that a phase needs.

source.json              the download stage's record, plus samples skipped and warnings found here; `packed` is the sha256 of
                         index.json
index.json               format, sizes_px, fit, rows (how many in each shard), has_depth, has_backgrounds,
                         arrays: {file: {num_bytes, sha256}}; for a source of assets: that there is nothing to pack
key.npy                  N fixed-width UTF-8 bytes; a composite's row is its index here
background.npy           N int32: index of its background in background_names.npy
cutout.npy               N int32: likewise in cutout_names.npy; -1 if the layout does not identify it
clean.npy                 N int32: the row of its clean background in S/clean.npy; -1 if it has none (only with known.npy)
known.npy                 N x 2 bool: whether its mask and its depth are known; only for a source of photos that may lack one,
                          whose store has format 3. The rows of what is unknown are 0
S/image-PPPP.npy         uint8 n x S x S x 3, the rows of shard P; S: a size in pixels
S/mask-PPPP.npy          uint8 n x S x S, alpha
S/depth-PPPP.npy         uint8, uint16 or float32 n x S x S, the values of the files, resized without mixing
S/clean.npy               uint8 M x S x S x 3, a row for each background and size of its composites

Each shard is made by one process; shards are never merged into one file. Nothing in the folder depends on how many processes
there were, or on what started them.
"""

FORMAT, FORMAT_OF_PHOTOS = 2, 3  # the latter with known.npy
INDEX, RECORD = "index.json", "source.json"
KINDS = ("image", "mask", "depth")


def name_rows(size_px: int, kind: str, shard: int) -> str:
    """The file with one shard's rows of a kind, relative to the store."""
    return f"{size_px}/{kind}-{shard:04d}.npy"


def name_clean(size_px: int) -> str:
    """The file with the clean backgrounds of one size, relative to the store."""
    return f"{size_px}/clean.npy"
