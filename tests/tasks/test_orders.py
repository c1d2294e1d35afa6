"""Orders: reading, and one clear line for what is wrong."""

import json
from pathlib import Path

import pytest

from assets.errors import InputError
from tasks.packing.orders import Carton, Order, check_order, read_orders

EXAMPLES = Path(__file__).parents[2] / "conf" / "orders"
ITEM = {"article": "rice", "length/mm": 390, "width/mm": 270, "height/mm": 180, "weight/kg": 10.2, "sequence": 1}


def write(path: Path, *items: object) -> Path:
    content = {"7": {"item_sequence": {str(number): item for number, item in enumerate(items, 1)}}}
    path.write_text(json.dumps(content))
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_orders(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def test_examples_in_both_forms() -> None:
    from_json, from_csv = read_orders(EXAMPLES / "example.json"), read_orders(EXAMPLES / "example.csv")
    assert from_json.keys() == from_csv.keys() == {"example"}
    for orders in (from_json, from_csv):
        assert 8 <= len(orders["example"].cartons) <= 14
        assert all(c.size[0] >= c.size[1] for c in orders["example"].cartons)


def test_cartons_keep_their_sequence_and_lie_lengthwise(tmp_path: Path) -> None:
    turned = {**ITEM, "article": "pasta", "length/mm": 200, "width/mm": 300, "sequence": 1}
    order = read_orders(write(tmp_path / "orders.json", {**ITEM, "sequence": 2}, turned))["7"]
    assert order.cartons == (Carton("pasta", (0.3, 0.2, 0.18), 10.2), Carton("rice", (0.39, 0.27, 0.18), 10.2))


def test_csv_quantity(tmp_path: Path) -> None:
    path = tmp_path / "monday.csv"
    path.write_text("article,length_mm,width_mm,height_mm,weight_kg,quantity\nrice,390,270,180,10.2,3\n")
    assert read_orders(path) == {"monday": Order("monday", (Carton("rice", (0.39, 0.27, 0.18), 10.2),) * 3)}


@pytest.mark.parametrize("value", [0, -3, float("nan"), float("inf"), "much", None, True])
@pytest.mark.parametrize("field", ["length/mm", "weight/kg"])
def test_impossible_number(tmp_path: Path, field: str, value: object) -> None:
    message = refused(write(tmp_path / "orders.json", ITEM, {**ITEM, field: value}))
    assert "order 7, item 2 (rice)" in message
    assert field in message


def test_missing_field(tmp_path: Path) -> None:
    item = {key: value for key, value in ITEM.items() if key != "height/mm"}
    assert "order 7, item 1: 'height/mm' is missing" in refused(write(tmp_path / "orders.json", item))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"7": {}}', '{"7": {"item_sequence": {}}}', '{"7": 3}'])
def test_malformed_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "orders.json"
    path.write_text(text)
    refused(path)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "column"),
        ("article,length_mm\nrice,3\n", "width_mm"),
        ("article,length_mm,width_mm,height_mm,weight_kg\n", "no cartons"),
        ("article,length_mm,width_mm,height_mm,weight_kg\nrice,390,270\n", "line 2"),
        ("article,length_mm,width_mm,height_mm,weight_kg\nrice,390,270,0,5\n", "height_mm"),
        ("article,length_mm,width_mm,height_mm,weight_kg,quantity\nrice,390,270,180,5,-1\n", "quantity"),
    ],
)
def test_malformed_csv(tmp_path: Path, text: str, hint: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(text)
    assert hint in refused(path)


def test_missing_file_and_unknown_form(tmp_path: Path) -> None:
    refused(tmp_path / "none.json")
    refused(tmp_path / "none.csv")
    refused(tmp_path / "orders.xlsx")


@pytest.mark.parametrize(
    ("carton", "limit"),
    [
        (Carton("door", (2.0, 0.3, 0.1), 5.0), "1200 x 800"),
        (Carton("lead", (0.4, 0.3, 0.1), 13.0), "12.5 kg"),
        (Carton("skis", (1.1, 0.3, 0.1), 5.0), "740 mm"),
        (Carton("tray", (0.7, 0.65, 0.1), 5.0), "600 mm"),
    ],
)
def test_carton_that_the_cell_cannot_handle(carton: Carton, limit: str) -> None:
    order = Order("7", (Carton("rice", (0.39, 0.27, 0.18), 10.2), carton))
    with pytest.raises(InputError, match=f"order 7, carton 2 .{carton.article}.*{limit}"):
        check_order(order, pallet_size=(1.2, 0.8), max_mass=12.5, max_length=0.74, max_width=0.6)
