"""The pages: everything that should be shown is there, in one file, and bad input is refused in a line."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest

from assets.errors import InputError
from palletlab.episode_parts import cycle_times
from palletlab.media import browser_mp4
from palletlab.orders import Planned
from palletlab.page import Cell, Page, table
from palletlab.plan_figure import plan_figure
from palletlab.plots import Band, Column, Mark, column_plot, line_plot
from palletlab.report import (
    contact_sheet,
    dataset_page,
    demo_page,
    evaluation_page,
    png_bytes,
)
from tasks.dataset.lerobot_format import Features
from tasks.dataset.publisher import Publisher
from tasks.dataset.staging import Episode, stage_episode, stage_quarantine
from tasks.evaluation import cause_of
from tasks.figures import success_interval
from tasks.packing.orders import Carton, Order
from tasks.packing.plans import Placement, Plan
from tasks.palletizing.task import ACTION_NAMES, STATE_NAMES, SURROUNDINGS_NAMES
from tasks.simulation import Settings

FEATURES = Features(
    fps=10,
    robot_type="ur20",
    cameras={"cell": (96, 128), "wrist": (96, 96)},
    state_names=STATE_NAMES,
    action_names=ACTION_NAMES,
    tasks=("Stack every carton <as planned>.", "Wait."),
    environment_state_names=SURROUNDINGS_NAMES,
)
SETTINGS = {"seed": 7, "simulation": Settings().to_dict()}
PERIOD, CARTON_SECONDS = 0.1, 6.0
EVENTS = (("arrived", 0.5), ("attached", 2.2), ("released", 5.4))


def example(variant: int, cartons: int = 3) -> Episode:
    """An episode with smooth made-up readings; every third variant loses its last carton."""
    rng = np.random.default_rng(variant)
    length = round(cartons * CARTON_SECONDS / PERIOD)
    time = np.arange(length) * PERIOD
    success = variant % 3 != 2
    events = [
        {"time": round(k * CARTON_SECONDS + offset, 3), "carton": k, "event": name}
        for k in range(cartons)
        for name, offset in EVENTS
    ]
    if not success:
        events[-1]["event"] = "lost: slid off"
    within = time % CARTON_SECONDS
    holding = (within >= EVENTS[1][1]) & (within < EVENTS[2][1])
    state = np.zeros((length, len(STATE_NAMES)))
    for joint in range(6):
        wave = np.sin(2 * np.pi * time / CARTON_SECONDS + joint)
        state[:, STATE_NAMES.index(f"joint{joint}.position")] = (1.5 - joint / 5) * wave - joint / 2
        noise = rng.normal(0, 3, length)
        state[:, STATE_NAMES.index(f"joint{joint}.torque")] = (200 / (joint + 1)) * wave + 30 * holding + noise
    state[:, STATE_NAMES.index("tool.force_z")] = 60 * holding + rng.normal(0, 1, length)
    for name in ("suction.vacuum", "suction.sealed", "suction.holding"):
        state[:, STATE_NAMES.index(name)] = holding * (0.9 if name == "suction.vacuum" else 1.0)
    done = np.arange(length) == length - 1
    x, y = np.arange(128)[None, None, :], np.arange(96)[None, :, None]
    drift = np.arange(length)[:, None, None]
    picture = np.stack([(x + 2 * drift) % 256 + 0 * y, 2 * y + 0 * x + 0 * drift, 90 + 0 * (x + y + drift)], axis=-1)
    picture = picture.astype(np.uint8)
    friction, size = float(rng.uniform(0.3, 0.8)), rng.uniform(0.2, 0.5, (5, 3))
    row = {
        "carton.count": cartons,
        "carton.size": size.tolist(),
        "carton.strength": [*rng.uniform(900, 2500, cartons).tolist(), 777.125, 777.125],
        "surface.cardboard_wood.friction": friction,
        "suction.max_moment": [23.0, 34.0],
        "floor.color": rng.uniform(0.5, 1, 3).tolist(),
    }
    verdict = {
        "success": success,
        "reasons": [] if success else [f"carton {cartons - 1} dropped (slid off)"],
        "placed": [True] * (cartons - (not success)) + [False] * (not success),
        "position_error": rng.uniform(0.001, 0.01, cartons).tolist(),
        "angle_error": [0.0] * cartons,
        "tilt_creep": 0.0007 if success else None,
        "pulse_elastic": 0.021 if success else None,
        "pulse_permanent": 0.004 if success else None,
    }
    return Episode(
        variant=variant,
        tasks=[FEATURES.tasks[int(variant == 1 and 30 <= k < 60)] for k in range(length)],
        images={"cell": picture, "wrist": np.ascontiguousarray(picture[:, :, :96])},
        state=state,
        action=np.zeros((length, len(ACTION_NAMES))),
        environment_state=np.zeros((length, len(SURROUNDINGS_NAMES))),
        reward=np.zeros(length),
        done=done,
        success=done & success,
        full_states=np.zeros((length + 1, 4)),
        metadata={"seed": 7, "row": row, "versions": {}, "events": events, "seconds": 18.0, "verdict": verdict},
    )


def make_dataset(root: Path, episodes: int, cartons: int = 3) -> Path:
    """Publish examples, and quarantine one more variant."""
    variants = range(episodes + 1)
    with Publisher(root, FEATURES, SETTINGS, variants) as publisher:
        for variant in range(episodes):
            stage_episode(root, FEATURES, example(variant, cartons))
        stage_quarantine(root, episodes, "world exploded <nan>", example(episodes, cartons).metadata["row"])
        publisher.finish()
    return root


def make_result() -> dict[str, Any]:
    """An evaluation in which friction matters and the light does not."""
    rng = np.random.default_rng(0)
    episodes = [
        {
            "variant": variant,
            "success": variant % 5 != 0,
            "reasons": [] if variant % 5 else ["carton 3 off by 17.2 mm", "load creeps 4.1 mm under a 10 deg tilt"],
            "of": 12,
            "done": 12 - (variant % 5 == 0),
            "seconds": float(rng.uniform(90, 120)),
        }
        for variant in range(40)
    ]
    edges = np.linspace(0.2, 0.9, 6)
    rates = {"surface.cardboard_wood.friction": (0.2, 0.5, 0.9, 1.0, 1.0), "light.intensity": (0.8, 0.9, 0.8, 0.8, 0.9)}
    return {
        "thing": "carton",
        "figures": {
            "success_rate": {"value": 0.8, "low": 0.644, "high": 0.909, "unit": "1"},
            "position_error": {"value": 4.2, "low": 3.9, "high": 4.6, "unit": "mm"},
            "cycle_time": {"value": 8.31, "low": 8.1, "high": 8.5, "unit": "s"},
            "cartons_per_hour": {"value": float("nan"), "low": None, "high": None, "unit": "1/h"},
        },
        "failures_by_cause": {"carton off": 6, "load creeps under a tilt": 2},
        "by_knob": [
            {
                "knob": knob,
                "bins": [
                    {"low": float(low), "high": float(high), "n": 10, "success": rate}
                    for low, high, rate in zip(edges[:-1], edges[1:], share, strict=True)
                ],
            }
            for knob, share in reversed(rates.items())
        ],
        "episodes": episodes,
    }


def make_order() -> Planned:
    """Two layers of cartons on one pallet, the upper ones turned."""
    large, small = Carton("biscuits", (0.6, 0.4, 0.24), 9.5), Carton("tea & co", (0.4, 0.3, 0.2), 3.2)
    cartons = (large,) * 4 + (small,) * 4
    base = [
        Placement(k, (x, y, 0.0), 0.0) for k, (x, y) in enumerate([(-0.3, -0.2), (0.3, -0.2), (-0.3, 0.2), (0.3, 0.2)])
    ]
    top = [
        Placement(4 + k, (x, y, 0.24), np.pi / 2) for k, (x, y) in enumerate([(-0.4, 0), (-0.1, 0), (0.2, 0), (0.5, 0)])
    ]
    return Planned(Order("example", cartons), Plan((tuple(base + top),)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes, one of them failed, and a quarantined variant."""
    return make_dataset(tmp_path_factory.mktemp("datasets") / "example", 4)


class Checker(HTMLParser):
    """Counts elements, and checks that they are closed in order and that nothing points outside the page."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.feed(page)
        assert not self.open
        ids = {attributes["id"] for _, attributes in self.elements if "id" in attributes}
        for _, attributes in self.elements:
            for key in ("src", "href"):
                link = attributes.get(key, "#")
                assert link.startswith("data:") or link == "#" or link[1:] in ids, link[:80]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]


def test_dataset_page_shows_everything(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    dataset_page(dataset, out)
    text = out.read_text().replace("\N{NO-BREAK SPACE}", " ")
    page = Checker(text)
    assert [found["id"] for found in page.all("article")] == [f"episode-{k}" for k in range(4)]
    assert len(page.all("video")) == 8
    assert len(page.all("svg")) == 4 * 5
    assert "19.4 % to 99.4 %, 3 of 4" in text  # Clopper-Pearson of 3 in 4
    assert "0.02 h" in text
    assert "720" in text
    assert "carton 2 dropped (slid off)" in text
    assert "carton dropped (slid off)" in text
    assert "load moved 0.7 mm when tilted, 21.0 mm at 0.5 g" in text
    assert "carton 2 lost: slid off" in text
    assert "world exploded &lt;nan&gt;" in text
    assert "Stack every carton &lt;as planned&gt;." in text
    assert len(page.all("tr", **{"class": "odd"})) == 1
    assert "777.1" not in text  # spare slots are not shown
    assert "knobs have the same value in every row" in text
    # 8 videos of 18 s at 10 kB a second, in base64, and the plots.
    assert len(text) < 8 * 18 * 10_000 * 4 / 3 + 400_000


def test_an_episode_of_several_tasks_shows_when_each_was_to_be_done(dataset: Path, tmp_path: Path) -> None:
    dataset_page(dataset, tmp_path / "one.html", episodes=[0])
    dataset_page(dataset, tmp_path / "two.html", episodes=[1])
    one, two = ((tmp_path / name).read_text() for name in ("one.html", "two.html"))
    assert one.count("<title>Wait.</title>") == 0
    assert two.count("<title>Wait.</title>") == 4  # a band in every plot over time
    assert two.count("<title>Stack every carton &lt;as planned&gt;.</title>") == 8
    Checker(two)


def test_a_demo_without_an_order_says_nothing_of_one(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo.html"
    demo_page(
        out, title="Demo", planned=None, sheet=None, captions=[], columns=3, dataset=dataset, result=make_result(),
        commands=["palletlab list"], limit=1,
    )  # fmt: skip
    sections = [found["id"] for found in Checker(out.read_text()).all("section")]
    assert not {"order", "plan", "variants"} & set(sections)


def test_dataset_page_of_chosen_episodes(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    dataset_page(dataset, out, episodes=[3, 1])
    assert [found["id"] for found in Checker(out.read_text()).all("article")] == ["episode-3", "episode-1"]
    dataset_page(dataset, out, limit=2)  # replaces the file; half of the places are for failures
    assert [found["id"] for found in Checker(out.read_text()).all("article")] == ["episode-0", "episode-2"]
    with pytest.raises(InputError, match=r"episode 4.*episodes 0\.\.3"):
        dataset_page(dataset, tmp_path / "other.html", episodes=[4])
    assert not (tmp_path / "other.html").exists()


def test_dataset_without_events_rows_or_episodes(tmp_path: Path) -> None:
    features = Features(10, "arm", {"cell": (32, 32)}, ("reading",), ("drive",), ("wait",))
    root = tmp_path / "bare"
    with Publisher(root, features, SETTINGS, [0]) as publisher:
        dataset_page(root, tmp_path / "empty.html")
        episode = Episode(
            0, ["wait"] * 3, {"cell": np.zeros((3, 32, 32, 3), np.uint8)}, np.zeros((3, 1)), np.zeros((3, 1)),
            np.zeros((3, 0)), np.zeros(3), np.zeros(3, bool), np.zeros(3, bool), np.zeros((4, 1)), {},
        )  # fmt: skip
        stage_episode(root, features, episode)
        publisher.finish()
    dataset_page(root, tmp_path / "bare.html")
    assert len(Checker((tmp_path / "empty.html").read_text()).all("video")) == 0
    assert len(Checker((tmp_path / "bare.html").read_text()).all("video")) == 1
    with pytest.raises(InputError, match="no dataset"):
        dataset_page(tmp_path, tmp_path / "none.html")


def test_evaluation_page(tmp_path: Path) -> None:
    out = tmp_path / "evaluation.html"
    evaluation_page(make_result(), out)
    text = out.read_text().replace("\N{NO-BREAK SPACE}", " ")
    page = Checker(text)
    assert "80.0 %" in text
    assert "64.4 % to 90.9 %" in text
    assert "4.2 mm" in text
    assert len(page.all("tr", **{"class": "bad"})) == 8
    assert text.index("surface.cardboard_wood.friction") < text.index("light.intensity")  # the more telling first
    empty = {"thing": "carton", "figures": {}, "failures_by_cause": {}, "by_knob": [], "episodes": []}
    evaluation_page(empty, out)
    Checker(out.read_text())
    assert "No failures." in out.read_text()


def test_demo_page_composes_all(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo.html"
    tiles = np.random.default_rng(0).integers(0, 255, (6, 24, 32, 3)).astype(np.uint8)
    captions = [f"variant {k}" for k in range(6)]
    demo_page(
        out,
        title="Demo",
        planned=make_order(),
        sheet=contact_sheet(tiles, captions, 3),
        captions=captions,
        columns=3,
        dataset=dataset,
        result=make_result(),
        commands=["palletlab view <dataset>", "palletlab train", "palletlab evaluate"],
        limit=1,
    )
    text = out.read_text().replace("\N{NO-BREAK SPACE}", " ")
    page = Checker(text)
    sections = [found["id"] for found in page.all("section")]
    assert len(set(sections)) == len(sections)
    assert [found["href"][1:] for found in page.all("a")][: len(sections)] == sections
    assert len(page.all("video")) == 2
    assert len(page.all("img")) == 1
    assert "palletlab view &lt;dataset&gt;" in text
    assert "tea &amp; co" in text


def test_interval_is_that_of_clopper_and_pearson() -> None:
    # R: binom.test(x, n)$conf.int
    assert success_interval(8, 10) == pytest.approx((0.4439045, 0.9747893), abs=1e-6)
    assert success_interval(0, 20) == pytest.approx((0.0, 0.1684335), abs=1e-6)
    assert success_interval(950, 1000) == pytest.approx((0.9346070, 0.9626634), abs=1e-5)
    assert success_interval(20, 20)[1] == 1.0
    assert success_interval(0, 0) == (0.0, 1.0)


def test_png_is_exact() -> None:
    image = np.random.default_rng(1).integers(0, 255, (30, 50, 3)).astype(np.uint8)
    png = png_bytes(image)
    with av.open(io.BytesIO(png), "r") as container:
        frame = next(container.decode(video=0))
    np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), image)
    assert png == png_bytes(image)
    with pytest.raises(InputError, match="float64"):
        png_bytes(np.zeros((3, 3, 3)))  # pyright: ignore[reportArgumentType]


def test_contact_sheet_tiles_row_by_row() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 3), np.uint8)
    sheet = contact_sheet(images, list("abcde"), 2)
    assert sheet.shape == (6, 6, 3)
    assert sheet[::2, ::3, 0].tolist() == [[0, 1], [2, 3], [4, 255]]
    assert contact_sheet(images, list("abcde"), 99).shape == (2, 15, 3)
    with pytest.raises(InputError, match="4 captions for 5 images"):
        contact_sheet(images, list("abcd"), 2)


def test_videos_become_h264_within_their_limit(dataset: Path, tmp_path: Path) -> None:
    path = next((dataset / "videos").rglob("*.mp4"))
    content = browser_mp4(path, 1_000_000)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(content)
    with av.open(str(copy), "r") as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert len(list(container.decode(video=0))) == 180
        assert float(container.duration or 0) / 1e6 == pytest.approx(18.0, abs=0.11)
    assert browser_mp4(copy, 1_000_000) == content  # already fit
    noise = np.random.default_rng(0).integers(0, 255, (60, 96, 96, 3)).astype(np.uint8)
    big = tmp_path / "big.mp4"
    with av.open(str(big), "w") as target:
        stream = target.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = 96, 96, "yuv420p"
        for image in noise:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        target.mux(stream.encode(None))
    assert len(browser_mp4(big, 60_000)) < 66_000 < big.stat().st_size
    with pytest.raises(InputError, match="no video"):
        browser_mp4(tmp_path / "missing.mp4", 1000)


def test_plan_figure_draws_every_carton_in_three_views() -> None:
    (boxes,) = make_order().boxes()
    assert boxes[4]["center"] == pytest.approx((-0.4, 0.0, 0.34))
    html = plan_figure(boxes)
    drawings = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html)]
    assert len(drawings) == 3
    for drawing in drawings:
        assert len(drawing.findall(".//title")) == len(boxes)
    assert [found.text for found in drawings[0].iter("text")].count("4") == 1
    assert "8 cartons, 50.8 kg in all, 0.58 m high" in html
    assert "<svg" in plan_figure([])
    with pytest.raises(InputError, match="box 1 of the plan has no 'mass'"):
        plan_figure([{"center": (0, 0, 0), "size": (1, 1, 1), "yaw": 0, "label": "x"}])


def test_line_plot_keeps_peaks_and_survives_odd_numbers() -> None:
    values = np.zeros(5000)
    values[3210] = 7.0
    values[40] = np.nan
    svg = line_plot("Torque", "N m", np.arange(5000) / 10, {"joint <0>": values}, marks=[Mark(3.0, "red", "a & b")])
    points = re.findall(r'points="([^"]*)"', svg)[0].split()
    assert len(points) <= 490
    heights = [float(point.split(",")[1]) for point in points]
    assert heights.count(min(heights)) == 1
    assert "joint &lt;0&gt;" in svg
    assert "a &amp; b" in svg
    bands = [Band(0.0, 100.0, "red", "fold & stack"), Band(100.0, 500.0, "blue", "stack")]
    svg = line_plot("Stages", "1", np.arange(5000) / 10, {"x": values}, bands=bands)
    wide = [float(width) for width in re.findall(r'<rect x="[\d.]+" width="([\d.]+)"', svg)]
    assert wide[1] == pytest.approx(4 * wide[0], rel=0.01)
    assert "fold &amp; stack" in svg
    flat = line_plot("Flat", "1", [0.0], {"x": [np.nan]})
    assert "nan" not in flat
    with pytest.raises(InputError, match=r"line 'x' has shape \(2,\)"):
        line_plot("Short", "1", [0.0, 1.0, 2.0], {"x": [1.0, 2.0]})


def test_columns_of_a_single_value_are_seen() -> None:
    svg = column_plot("Success", "%", [Column(2.0, 2.0, 50.0, (10.0, 90.0), "n 4")], x_name="index")
    width = float(re.findall(r'<rect [^>]*width="([\d.]+)"', svg)[0])
    assert width > 5
    assert "nan" not in column_plot("None", "%", [], x_name="index")


def test_text_is_escaped_and_files_stay_local() -> None:
    page = Page("a < b", "c & d")
    page.section("<script>", table([("x<y", "m")], [["<b>", Cell("<i>as is</i>", 1.0, 'say "hi"')]], kinds=["good"]))
    html = page.html()
    checked = Checker(html)
    assert len(checked.all("b")) == 0
    assert len(checked.all("i")) == 1
    assert "http" not in html.replace("http-equiv", "")


def test_causes_and_cycles() -> None:
    assert cause_of("carton 3 off by 17.2 mm") == "carton off"
    assert cause_of("carton 12 dropped (52 mm below its place)") == "carton dropped"
    assert cause_of("carton 0 dropped (pulled off)") == "carton dropped (pulled off)"
    assert cause_of("carton 1 crushed (3120 N)") == "carton crushed"
    assert cause_of("load creeps 4.1 mm under a 10 deg tilt") == "load creeps under a tilt"
    assert cause_of("load deforms 93 mm of 800 under 0.5 g") == "load deforms under 0.5 g"
    events = [
        {"time": 4.0, "carton": 0, "event": "released"},
        {"time": 7.0, "carton": 1, "event": "lost: pulled off"},
        {"time": 12.0, "carton": 2, "event": "released"},
    ]
    assert cycle_times(events, "carton") == {0: 4.0, 2: 5.0}
    assert cycle_times([{"time": 1.0, "part": 0, "event": "released"}, *events], "carton") == {0: 4.0, 2: 5.0}
    assert cause_of("part 12 outside the bin (31 mm)") == "part outside the bin"
