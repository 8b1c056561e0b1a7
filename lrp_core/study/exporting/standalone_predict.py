"""Predict with an exported network. Needs numpy, and what runs the network beside this file: onnxruntime or torch.

python predict.py rows.csv
python predict.py pictures/*.png --json
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
BATCH = 500


class Refused(Exception):
    """A request that cannot be answered; its text is one sentence."""


def main(words: list[str] | None = None) -> int:
    """Answer one call: the exit code is 0, or 2 for files that cannot be read, which are named on stderr."""
    parser = argparse.ArgumentParser(description="Predict with the network in this folder.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".csv, .npy, .npz or .png, without labels")
    parser.add_argument("--array", metavar="NAME", help="the array of an .npz file that holds the inputs")
    parser.add_argument("--json", action="store_true", help="print JSON, with every output of the network")
    arguments = parser.parse_args(words)
    rows: list[dict[str, Any]] = []
    code = 0
    try:
        settings = read_settings()
        run = open_network(settings)
    except Refused as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    for file in arguments.files:
        try:
            rows += answers(file, read(file, arguments.array, settings), run, settings)
        except (Refused, OSError) as error:
            print(f"predict.py: {error}", file=sys.stderr)
            code = 2
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            said = f"{row['number']:.6g}" if "number" in row else f"{row['class']} ({row['probability']:.1%})"
            print(f"{row['row']}: {said}")
    return code


def read_settings() -> dict[str, Any]:
    """What the network takes and gives, as it was exported."""
    try:
        settings: dict[str, Any] = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))
        network = (HERE / settings["network"]).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise Refused(f"{HERE} lacks a part of the export, or it is damaged: {error}") from error
    if hashlib.sha256(network).hexdigest() != settings["sha256"]:
        raise Refused(f"{HERE / settings['network']} is damaged: its checksum is not the one in settings.json")
    return settings


def open_network(settings: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the outputs [n, outputs] of raw inputs [n, *shape], float32."""
    path = str(HERE / settings["network"])
    if path.endswith(".onnx"):
        try:
            import onnxruntime
        except ImportError:
            raise Refused("this needs onnxruntime: pip install -r requirements.txt") from None
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda batch: np.asarray(session.run(None, {"inputs": batch})[0])
    try:
        import torch
    except ImportError:
        raise Refused("this needs torch: pip install -r requirements.txt") from None
    network = torch.export.load(path).module()
    return lambda batch: np.asarray(network(torch.from_numpy(batch)).detach().numpy())


def answers(file: Path, inputs: np.ndarray, run: Any, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The class and its probability, or the number, for each row of a file."""
    rows = []
    for start in range(0, len(inputs), BATCH):
        outputs = run(inputs[start : start + BATCH]).astype(np.float64)
        for i, values in enumerate(outputs, start):
            row: dict[str, Any] = {"row": str(file) if len(inputs) == 1 else f"{file} row {i}"}
            if settings["classes"]:
                shares = np.exp(values - values.max())
                best = int(values.argmax())
                row |= {"class": settings["classes"][best], "probability": float(shares[best] / shares.sum())}
            else:
                row["number"] = float(values[0])
            rows.append(row | {"outputs": values.tolist()})
    return rows


def read(file: Path, array: str | None, settings: dict[str, Any]) -> np.ndarray:
    """The inputs in a file, float32 [n, *shape]."""
    suffix = file.suffix.lower()
    if not file.is_file():
        raise Refused(f"there is no file {file}")
    if suffix == ".png":
        return finished(read_png(file, settings["shape"])[None], str(file), settings)
    if suffix == ".csv":
        return read_csv(file, settings)
    if suffix not in (".npy", ".npz"):
        raise Refused(f"{file} is of a kind that is not read: give .csv, .npy, .npz or .png")
    try:
        content = np.load(file)  # it refuses pickled objects
        if suffix == ".npz":
            content = content[pick(list(content.files), array, file)]
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{file} is damaged, or no file of numpy: {error}") from error
    return finished(content, str(file), settings)


def pick(names: list[str], array: str | None, file: Path) -> str:
    """The array of inputs in an .npz file."""
    likely = [name for name in names if name.lower() in ("x", "x_test", "inputs", "images", "data")]
    if array is None:
        for found in (names, likely):
            if len(found) == 1:
                return found[0]
    elif array in names:
        return array
    raise Refused(f"{file} holds the arrays {', '.join(names) or 'none'}: name that of the inputs with --array NAME")


def finished(values: np.ndarray, where: str, settings: dict[str, Any]) -> np.ndarray:
    """Numbers of any type as float32 [n, *shape], pixels in [0, 1]; NaN only where a value may be missing."""
    shape, n, kept = tuple(settings["shape"]), settings["inputs"], settings["kept"]
    if values.dtype.kind not in "buif":
        raise Refused(f"{where} holds {values.dtype}, and no numbers")
    if values.shape == shape:
        values = values[None]
    if values.ndim == 2 and values.shape[1] == len(kept) != n:
        flat = np.tile(np.asarray(settings["absent"], dtype=np.float64), (len(values), 1))
        flat[:, kept] = shares(values, where, settings)
    elif values.shape[1:] in (shape, (n,)) and values.ndim > 1:
        flat = shares(values.reshape(len(values), n), where, settings).astype(np.float64)
    else:
        small = "" if len(kept) == n else f", or the {len(kept):,} that the network reads as [n, {len(kept)}]"
        raise Refused(
            f"{where} has the shape {values.shape}, and rows must be [n, {str(shape)[1:-1].strip(',')}]{small}"
        )
    for position, value in settings["imputed"].items():
        flat[np.isnan(flat[:, int(position)]), int(position)] = value
    unread = np.setdiff1d(np.arange(n), kept)
    flat[:, unread] = np.asarray(settings["absent"])[unread]
    bad = ~(np.abs(flat) <= np.finfo(np.float32).max)
    if bad.any():
        row, position = (int(i) for i in np.argwhere(bad)[0])
        raise Refused(
            f"{where}, row {row} (counted from 0) holds no finite number in input {called(position, settings)}"
        )
    return np.ascontiguousarray(flat.astype(np.float32).reshape(-1, *shape))


def shares(values: np.ndarray, where: str, settings: dict[str, Any]) -> np.ndarray:
    """Where inputs are pixels, bytes, also such as are kept as other numbers, in [0, 1]; else numbers as they are."""
    if settings["shares"] == "no":
        return np.asarray(values, dtype=np.float64)
    known = np.where(np.isnan(values), 0, values) if values.dtype.kind == "f" else values
    whole = bool((known == np.floor(known)).all()) and (known.dtype.kind in "ui" or bool((known > 1).any()))
    top = 255 if whole else 1
    if bool(((known < 0) | (known > top)).any()):
        if settings["shares"] == "only":
            raise Refused(f"{where} holds other numbers than pixels, which are bytes or lie in [0, 1]")
        return np.asarray(values, dtype=np.float64)
    return np.asarray(values.astype(np.float32) / np.float32(top))


def called(position: int, settings: dict[str, Any]) -> str:
    """What an input is called."""
    return repr(settings["names"][position]) if settings["names"] else str(position)


def read_csv(file: Path, settings: dict[str, Any]) -> np.ndarray:
    """The rows of a table: columns by their names where the inputs have some, else in their order."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            lines = [line for line in csv.reader(text) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"{file} is no table of text: {error}") from error
    names, kept, n = settings["names"], settings["kept"], settings["inputs"]
    if not lines:
        raise Refused(f"{file} holds no rows")
    header = [cell.strip() for cell in lines[0]]
    has_header = any(number(cell) is None for cell in header if cell) or {names[p] for p in kept if names} == set(
        header
    )
    body = lines[1:] if has_header else lines
    for i, line in enumerate(body):
        if len(line) != len(header):
            raise Refused(
                f"{file}, row {i} (counted from 0) has {len(line)} cells, and the first line has {len(header)}"
            )
    if not body:
        raise Refused(f"{file} holds no rows")
    if not (has_header and names):
        if len(header) not in (n, len(kept)):
            columns = f"{n:,}" if len(kept) == n else f"{n:,}, or the {len(kept):,} that the network reads"
            raise Refused(f"{file} has {len(header):,} columns, and rows have {columns}")
        return finished(numbers(body, range(len(header)), file, header), str(file), settings)
    words = {p: group["name"] for group in settings["words"] for p in group["indices"]}
    wanted = {p: words.get(p, names[p]) for p in kept}
    lacking = sorted({name for name in wanted.values() if name not in header})
    if lacking:
        raise Refused(f"{file} lacks the columns {', '.join(lacking[:5])}, which the network reads")
    values = np.tile(np.asarray(settings["absent"], dtype=np.float64), (len(body), 1))
    plain = [p for p in kept if p not in words]
    values[:, plain] = numbers(body, [header.index(wanted[p]) for p in plain], file, header)
    for p in (p for p in kept if p in words):
        column, word = header.index(wanted[p]), names[p][len(words[p]) + 1 :]
        values[:, p] = [(line[column].strip() or "(missing)") == word for line in body]
        known = {names[q][len(words[q]) + 1 :] for q in words if words[q] == words[p]}
        odd = next((line[column] for line in body if (line[column].strip() or "(missing)") not in known), None)
        if odd is not None:
            raise Refused(f"{file}, column {words[p]} holds {odd!r}, which the network was not trained with")
    return finished(values, str(file), settings)


def numbers(body: list[list[str]], columns: Any, file: Path, header: list[str]) -> np.ndarray:
    """The numbers in some columns; NaN where a cell is empty."""
    values = np.empty((len(body), len(columns)))
    for i, line in enumerate(body):
        for j, column in enumerate(columns):
            found = number(line[column]) if line[column].strip() else np.nan
            if found is None:
                where = f"{file}, row {i} (counted from 0), column {header[column]}"
                raise Refused(f"{where} holds {line[column]!r}, which is no number")
            values[i, j] = found
    return values


def number(cell: str) -> float | None:
    """The number in a cell, None if there is none."""
    try:
        return float(cell)
    except ValueError:
        return None


def read_png(file: Path, shape: list[int]) -> np.ndarray:
    """The pixels of a picture of 8 bits, as bytes [channels, height, width]."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise Refused(f"{file} is a picture, and the network takes inputs of shape {tuple(shape)}")
    content = file.read_bytes()
    chunks: dict[bytes, bytes] = {}
    place = 8
    while content[:8] == b"\x89PNG\r\n\x1a\n" and place + 12 <= len(content):
        size, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        chunks[kind] = chunks.get(kind, b"") + content[place + 8 : place + 8 + size]
        place += size + 12
    try:
        header = chunks[b"IHDR"]
        width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
        depth, colour, interlaced = header[8], header[9], header[12]
        if depth != 8 or colour not in (0, 2, 3) or interlaced or b"tRNS" in chunks:
            raise Refused(f"{file} is a picture of a kind that is not read: save it with 8 bits, without transparency")
        if [height, width] != shape[1:]:
            raise Refused(f"{file} is {width}x{height} pixels, and the network takes {shape[2]}x{shape[1]}")
        pixels = unfiltered(zlib.decompressobj().decompress(chunks[b"IDAT"], height * (3 * width + 1)), width, height,
                            3 if colour == 2 else 1)  # fmt: skip
        if colour == 3:
            pixels = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[pixels[:, :, 0]]
    except (KeyError, IndexError, ValueError, zlib.error) as error:
        raise Refused(f"{file} is damaged, or no PNG picture") from error
    if pixels.shape[2] > shape[0]:  # the weights of ITU-R BT.601, as other programs take them
        pixels = np.rint(pixels @ np.array([[0.299], [0.587], [0.114]])).astype(np.uint8)
    return np.repeat(pixels, shape[0] // pixels.shape[2], 2).transpose(2, 0, 1)


def unfiltered(raw: bytes, width: int, height: int, channels: int) -> np.ndarray:
    """The bytes of a picture [height, width, channels] out of the lines of a PNG file, each with its filter."""
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels)
    pixels = np.zeros((height, width * channels), np.uint8)
    above = [0] * (width * channels)
    for y, line in enumerate(lines.tolist()):
        kind, row = line[0], line[1:]
        for x in range(len(row)):
            left, up = (row[x - channels] if x >= channels else 0), above[x]
            corner = above[x - channels] if x >= channels else 0
            if kind == 4:
                distances = (abs(up - corner), abs(left - corner), abs(left + up - 2 * corner))
                add = (left, up, corner)[distances.index(min(distances))]
            else:
                add = (0, left, up, (left + up) // 2)[kind]
            row[x] = (row[x] + add) % 256
        pixels[y], above = row, row
    return pixels.reshape(height, width, channels)


if __name__ == "__main__":
    sys.exit(main())
