"""The header of a model file, read without torch: is it one of ours, whole, and what does its card say?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from depthmask.base.errors import UserError
from depthmask.base.files import parse_json
from depthmask.base.paths import find_fault_of_file
from depthmask.models.model_card import FORMAT, ModelCard, read_card, require_keys

HEADER_KEY = "depthmask"  # one key: with several, their order in the file would vary from run to run
PICKLE_STARTS = (b"PK\x03\x04", b"\x80")  # of torch.save's archives, and of a bare pickle
EXPORTED = {".onnx": "onnxruntime", ".pt2": "torch.export"}  # what depthmask export writes for others
FILE_BYTES_MAX = 1 << 31  # the widest network, `compact` of 256 channels with a background, has 1.26 GB
HEADER_BYTES_MAX = 2 << 20  # networks here have 10 to 150 kB of names, a release some 30 kB
# safetensors' names of the types that a network may have, with torch's
TENSOR_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
METADATA = "__metadata__"
LENGTH_BYTES = 8  # of the header, before it
READ_BYTES = 1 << 20


class PickleFoundError(ValueError):
    """A file starts like an archive of torch.save or like a pickle."""


def check_header(path: Path) -> dict[str, Any]:
    """Look at the header before a library does: its length, and JSON that says one thing; returns it."""
    size = path.stat().st_size
    if size > FILE_BYTES_MAX:
        raise ValueError(f"{size / 1e9:.1f} GB are more than any network here has")
    with path.open("rb") as data:
        start = data.read(LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if not 2 <= length <= min(HEADER_BYTES_MAX, size - LENGTH_BYTES):
            if start.startswith(PICKLE_STARTS):  # else the length of a header, whose lowest byte may be that of a pickle
                raise PickleFoundError
            raise ValueError(f"its header should have {length:,} bytes")
        header = parse_json(data.read(length).decode())  # UnicodeDecodeError is a ValueError
    if not isinstance(header, dict):
        raise ValueError("its header is not a mapping")
    for name, entry in header.items():
        if name != METADATA and not (isinstance(entry, dict) and entry.get("dtype") in TENSOR_TYPES):
            raise ValueError(f"tensor {name[:80]} is of a type that no network has")
    return header


def read_sealed_card(path: Path) -> ModelCard:
    """The card of a model file whose sha256 was compared; that its tensors fit its network is left to `load_model`.

    Raises:
        UserError: it is missing, no regular file, damaged, changed, not one of ours, or its card says what no model can have.
    """
    fault = find_fault_of_file(path)
    if fault is not None:
        raise UserError(f"{path}: {fault}, not a model file; choose a .safetensors file of depthmask")
    try:
        header = check_header(path)
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are not a mapping")
        return unseal_card(path, read_header_key(metadata), lambda card: _hash_file(path, card, header))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise make_error(path, error) from error


def read_header_key(metadata: Mapping[str, Any]) -> Any:
    """The JSON in a file's metadata; raises ValueError if they have anything else, or nothing."""
    if metadata.keys() != {HEADER_KEY}:
        raise ValueError(f"its metadata are {', '.join(metadata) or 'empty'}, not {HEADER_KEY} alone")
    return parse_json(metadata[HEADER_KEY])


def unseal_card(path: Path, card: Any, hash_content: Callable[[Mapping[str, Any]], str]) -> ModelCard:
    """The card that was read from a file's header; hash_content: of the file, with this card, as `model_file.hash_model`.

    Raises:
        UserError: it is of another version.
        ValueError, KeyError, TypeError: it is not a card, or the file is not what was written.
    """
    if not isinstance(card, dict):
        raise ValueError("its card is not a mapping")
    if card.get("format") != FORMAT:
        raise UserError(f"{path}: made by another version of depthmask; train it again")
    require_keys({name: value for name, value in card.items() if name not in ("format", "sha256")})
    if card.pop("sha256", None) != hash_content(card):
        raise ValueError("its content is not what was written: the sha256 differs")
    del card["format"]
    return read_card(card)


def _hash_file(path: Path, card: Mapping[str, Any], tensors: Mapping[str, Any]) -> str:
    """What `model_file.hash_model` gives, from the bytes of the file."""
    digest, size = hashlib.sha256(write_card(card).encode()), path.stat().st_size
    with path.open("rb") as data:
        start = LENGTH_BYTES + int.from_bytes(data.read(LENGTH_BYTES), "little")
        for name in sorted(tensors):
            entry = tensors[name]
            first, last = entry["data_offsets"]
            if not 0 <= first <= last <= size - start:
                raise ValueError(f"tensor {name[:80]} is not wholly in it")
            digest.update(f"\n{name} torch.{TENSOR_TYPES[entry['dtype']]} {list(entry['shape'])}\n".encode())
            data.seek(start + first)
            _add_bytes(digest, data, last - first)
    return digest.hexdigest()


def _add_bytes(digest: Any, data: BinaryIO, num_bytes: int) -> None:
    while num_bytes > 0:
        piece = data.read(min(num_bytes, READ_BYTES))
        if not piece:
            raise ValueError("it ends too early")
        digest.update(piece)
        num_bytes -= len(piece)


def write_card(card: Mapping[str, Any]) -> str:
    """A card as the JSON that is hashed and written."""
    return json.dumps(card, sort_keys=True)


def make_error(path: Path, error: Exception) -> UserError:
    """What is wrong with a file that is no model file, in one line."""
    if path.suffix in EXPORTED:
        return UserError(
            f"{path}: a file for {EXPORTED[path.suffix]}, which depthmask cannot load; use the .safetensors file that it was"
            " exported from"
        )
    if isinstance(error, PickleFoundError):
        return UserError(
            f"{path}: is a pickle (torch.save), which could run any code and is never loaded; train a model file here"
        )
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{path}: not a whole model file of depthmask ({reason}); recreate it, or copy it again")
