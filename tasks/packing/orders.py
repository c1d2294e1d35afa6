"""Orders: the cartons that are to be stacked on pallets, read from BED-BPP JSON or from CSV."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.errors import InputError

CSV_COLUMNS = ("article", "length_mm", "width_mm", "height_mm", "weight_kg")


@dataclass(frozen=True)
class Carton:
    """One carton.

    Attributes:
        article: name of the goods inside.
        size: length, width, height [m]; the length is the longer horizontal side.
        mass: [kg].
    """

    article: str
    size: tuple[float, float, float]
    mass: float


@dataclass(frozen=True)
class Order:
    """The cartons of one customer, in the order in which the source lists them."""

    name: str
    cartons: tuple[Carton, ...]


def read_orders(path: str | Path) -> dict[str, Order]:
    """Read the orders of a file, by name.

    `.json` is the form of the BED-BPP benchmark (a dict of orders, each with an `item_sequence`; lengths in mm, masses
    in kg; https://github.com/floriankagerer/bed-bpp-env); `.csv` is one order, named like the file, with the columns
    article, length_mm, width_mm, height_mm, weight_kg and, if wished, quantity. A carton that is wider than long is
    turned, so that its length is its longer side.

    Raises:
        InputError: the file is missing or malformed, or a carton lacks a field or has an impossible size or mass.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return {path.stem: Order(path.stem, _csv_cartons(path))}
    if path.suffix.lower() == ".json":
        content = read_json(path)
        if not content:
            raise InputError(f"{path}: no orders inside; at least one order with an 'item_sequence' is needed")
        return {name: Order(name, _json_cartons(path, name, order)) for name, order in content.items()}
    raise InputError(
        f"{path}: orders are read from .json (BED-BPP) or .csv files, not from '{path.suffix or path.name}'"
    )


def check_order(
    order: Order, *, pallet_size: tuple[float, float], max_mass: float, max_length: float, max_width: float = math.inf
) -> None:
    """Refuse an order with a carton that the cell cannot handle.

    Args:
        order: the order.
        pallet_size: length and width of the pallet [m].
        max_mass: the heaviest carton that the arm and its gripper may carry [kg].
        max_length: the longest carton that the gripper can lift level [m].
        max_width: the widest carton that the gripper can lift level [m].

    Raises:
        InputError: naming the first such carton and the limit that it breaks.
    """
    for number, carton in enumerate(order.cartons, 1):
        length, width, _ = carton.size
        where = f"order {order.name}, carton {number} ({carton.article})"
        if length > max(pallet_size) or width > min(pallet_size):
            raise InputError(
                f"{where}: {_mm(length)} x {_mm(width)} mm does not fit the pallet of "
                f"{_mm(pallet_size[0])} x {_mm(pallet_size[1])} mm"
            )
        if carton.mass > max_mass:
            raise InputError(f"{where}: {carton.mass:g} kg is too heavy; the arm may carry at most {max_mass:g} kg")
        for name, extent, limit in (("long", length, max_length), ("wide", width, max_width)):
            if extent > limit:
                raise InputError(
                    f"{where}: {_mm(extent)} mm is too {name} for the gripper, which lifts at most {_mm(limit)} mm"
                )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; raises InputError where it is missing, malformed or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of an existing file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: malformed JSON in line {error.lineno}, column {error.colno}: {error.msg}") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: an object that maps names of orders to orders is needed, not a {type(content).__name__}"
        )
    return content


def carton_of_item(item: Any, where: str, path: Path) -> tuple[Carton, bool]:
    """The carton of one BED-BPP item and whether it was turned because it is wider than long.

    Raises:
        InputError: one line with the file and `where` in it.
    """
    if not isinstance(item, Mapping):
        raise InputError(
            f"{path}: {where}: an object with article, length/mm, width/mm, height/mm, weight/kg is needed"
        )
    fields = ("length/mm", "width/mm", "height/mm", "weight/kg")
    for field in ("article", *fields):
        if field not in item:
            raise InputError(f"{path}: {where}: '{field}' is missing")
    return _carton(str(item["article"]), fields, [item[field] for field in fields], f"{path}: {where}")


def _json_cartons(path: Path, name: str, order: Any) -> tuple[Carton, ...]:
    sequence = order.get("item_sequence") if isinstance(order, dict) else None
    if not isinstance(sequence, dict):
        raise InputError(f"{path}: order {name}: 'item_sequence' is missing; it maps numbers to items")
    if not sequence:
        raise InputError(f"{path}: order {name}: no cartons; 'item_sequence' needs at least one item")
    numbered = []
    for key, item in sequence.items():
        where = f"order {name}, item {key}"
        carton, _ = carton_of_item(item, where, path)
        number = item.get("sequence", key)
        try:
            numbered.append((int(number), carton))
        except (TypeError, ValueError):
            raise InputError(f"{path}: {where}: sequence {number!r} is not a whole number") from None
    return tuple(carton for _, carton in sorted(numbered, key=lambda pair: pair[0]))


def _csv_cartons(path: Path) -> tuple[Carton, ...]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in CSV_COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: column {', '.join(missing)} is missing; the first line names the columns")
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the path of an existing file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}: malformed CSV: {error}") from None
    cartons: list[Carton] = []
    for line, row in rows:
        where = f"{path}: line {line}"
        if None in row or None in row.values():
            raise InputError(f"{where}: {len(reader.fieldnames or ())} cells are needed, as in the first line")
        values = [row[column] for column in CSV_COLUMNS[1:]]
        carton, _ = _carton(row["article"], CSV_COLUMNS[1:], values, where)
        quantity = (row.get("quantity") or "1").strip()
        if not quantity.isdecimal() or int(quantity) < 1:
            raise InputError(f"{where} ({carton.article}): quantity {quantity!r} is not a whole number of at least 1")
        cartons += [carton] * int(quantity)
    if not cartons:
        raise InputError(f"{path}: no cartons; at least one line below the column names is needed")
    return tuple(cartons)


def _carton(article: str, names: tuple[str, ...], values: list[Any], where: str) -> tuple[Carton, bool]:
    numbers = []
    for name, value in zip(names, values, strict=True):
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            raise InputError(f"{where} ({article}): {name} is {value!r}; a finite number above zero is needed")
        numbers.append(number)
    length, width, height = (number / 1000 for number in numbers[:3])
    turned = width > length
    if turned:
        length, width = width, length
    return Carton(article, (length, width, height), numbers[3]), turned


def _mm(metres: float) -> str:
    return f"{metres * 1000:.0f}"
