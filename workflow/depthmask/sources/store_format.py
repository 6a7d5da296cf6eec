"""The packed store: pre-composited samples, decoded once, at every size that a phase needs.

source.json              what the download stage recorded, with what was left out and what looks wrong here; `packed` is the
                         sha256 of index.json
index.json               format, sizes_px, fit, rows (how many in each part), has_depth, has_backgrounds,
                         arrays: {file: {num_bytes, sha256}}; of a source of assets: that there is nothing to pack
key.npy                  N fixed-width UTF-8 bytes; a composite's row is its place here
background.npy           N int32: the place of its background's name in background_names.npy
cutout.npy               N int32: likewise in cutout_names.npy; -1 where the layout does not tell
clean.npy                 N int32: the row of its clean background in S/clean.npy
S/image-PPPP.npy         uint8 n x S x S x 3, the rows of part P; S: a size in pixels
S/mask-PPPP.npy          uint8 n x S x S, alpha
S/depth-PPPP.npy         uint8 or uint16 n x S x S, the values of the files, each picked and none mixed
S/clean.npy               uint8 M x S x S x 3, a row for each background and size of its composites

Parts are what was made by one process each, put beside each other; they are never copied into one. Nothing in the folder
depends on how many processes there were, or on who started them.
"""

FORMAT = 2
INDEX, RECORD = "index.json", "source.json"
KINDS = ("image", "mask", "depth")


def name_rows(size_px: int, kind: str, part: int) -> str:
    """The file of a kind's rows of one part, relative to the store."""
    return f"{size_px}/{kind}-{part:04d}.npy"


def name_clean(size_px: int) -> str:
    """The file, within a store, of the clean backgrounds of one size."""
    return f"{size_px}/clean.npy"
