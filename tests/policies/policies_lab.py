"""A little cell and its dataset: a block driven by the joints fetches a carton and sets it down left or right.

Small enough to be made in a fraction of a second, and all that policies need is in it: the picture tells the joints,
the joints follow the actions, the sentence tells where the carton goes. Two cameras see it: "cell" from above and
"wrist", turned by a quarter.

    dataset = little_dataset(tmp_path / "data", episodes=4, length=40)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.dataset import lerobot_format as lerobot
from tasks.dataset.video import VideoSink

TASKS = ("Set the carton down on the left.", "Set the carton down on the right.")
GOALS = np.array([[-0.7, 0.7], [0.7, 0.7]])  # [rad] where each task wants the carton, as joints 0 and 1
CAMERAS = {"cell": (64, 64), "wrist": (64, 64)}
REACH = 0.15  # [rad] how near the block must be to draw the carton in
LAG = 0.6  # share of the way to its target that a joint goes in a period
FPS = 20


class LittleCell:
    """The cell: `joints` joints in [-1, 1] rad of which the first two move the block, the third a pointer below."""

    def __init__(self, rng: np.random.Generator, task: int, joints: int = 3) -> None:
        self.task, self.position, self.velocity = task, np.zeros(joints), np.zeros(joints)
        self.position[:2] = rng.uniform(-0.8, 0.8, 2)
        self.carton, self.held = rng.uniform([-0.8, -0.8], [0.8, 0.1]), False
        self.target = self.position.copy()

    def step(self, action: np.ndarray) -> None:
        """Move for one control period towards joint targets [rad], with the pump on where the last number is > 0.5."""
        self.target = np.clip(action[:-1], -1.0, 1.0)
        moved = LAG * (self.target - self.position)
        self.position, self.velocity = self.position + moved, moved * FPS
        near = np.abs(self.position[:2] - self.carton).max() < REACH
        self.held = bool(action[-1] > 0.5) and (self.held or bool(near))
        if self.held:
            self.carton = self.position[:2].copy()

    @property
    def success(self) -> bool:
        """Whether the carton stands free where the task wants it."""
        return not self.held and bool(np.abs(self.carton - GOALS[self.task]).max() < REACH)

    def state(self, torques: bool = True) -> np.ndarray:
        """What the robot measures, in the order of `state_names`."""
        torque = [10.0 * (self.target - self.position)] if torques else []
        return np.concatenate([self.position, self.velocity, *torque, [float(self.held), float(self.held)]])

    def picture(self, camera: str, height: int = 64, width: int = 64) -> np.ndarray:
        """What a camera sees, uint8, (height, width, 3). Edges are soft, so that moves below a pixel show too."""
        y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1) * 2.0 - 1.0
        image = np.stack([90 + 30 * x, 100 + 20 * y, 110 - 20 * x * y], axis=-1)
        if camera != "cell":
            x, y = -y, x
            image = image[::-1, :, ::-1]
        soft = width / 2

        def draw(at: np.ndarray, half: tuple[float, float], colour: tuple[int, int, int]) -> None:
            nonlocal image
            cover = [
                np.clip((h - np.abs(a - 0.8 * c)) * soft + 0.5, 0, 1) for a, c, h in zip((x, y), at, half, strict=True)
            ]
            cover = (cover[0] * cover[1])[..., None]
            image = image * (1 - cover) + np.array(colour) * cover

        draw(self.carton, (0.22, 0.22), (200, 170, 60))
        draw(self.position[:2], (0.12, 0.12), (60, 200, 90) if self.held else (200, 60, 60))
        for number, joint in enumerate(self.position[2:3]):
            draw(np.array([joint, 1.1 - 0.1 * number]), (0.08, 0.08), (230, 230, 240))
        return np.round(np.clip(image, 0, 255)).astype(np.uint8)


def expert(cell: LittleCell, t: int, length: int, start: np.ndarray, carton: np.ndarray) -> np.ndarray:
    """The action of period t of `length`: to the carton, draw, to the goal, let go, back off."""
    phases = np.array([0.35, 0.45, 0.8, 0.9, 1.0]) * length
    goal = GOALS[cell.task]
    points = [start, carton, carton, goal, goal, goal * 0.5]
    phase = int(np.searchsorted(phases, t, side="right"))
    begin = phases[phase - 1] if phase else 0.0
    share = (t + 1 - begin) / (phases[phase] - begin)
    share = np.clip(share, 0, 1) ** 2 * (3 - 2 * np.clip(share, 0, 1))
    target = np.sin(np.arange(len(cell.position)) + 0.2 * t) * 0.6
    target[:2] = points[phase] + share * (points[phase + 1] - points[phase])
    return np.append(target, float(phase in (1, 2)))


def state_names(joints: int = 3, torques: bool = True) -> tuple[str, ...]:
    kinds = ("position", "velocity", "torque") if torques else ("position", "velocity")
    return (*(f"joint{i}.{kind}" for kind in kinds for i in range(joints)), "suction.sealed", "suction.holding")


def action_names(joints: int = 3) -> tuple[str, ...]:
    return (*(f"joint{i}.position" for i in range(joints)), "suction")


def little_dataset(
    root: Path,
    episodes: int = 4,
    length: int = 40,
    *,
    cameras: dict[str, tuple[int, int]] | None = None,
    joints: int = 3,
    torques: bool = True,
    actions: bool = True,
    packed: bool = False,
    robot: str = "ur20",
    fps: int = FPS,
    seed: int = 0,
    noise: float = 0.05,
) -> Path:
    """Write a LeRobotDataset v3 of the little cell and return its folder.

    Episode e has task e % 2 and `length` + 2 * (e % 3) frames; `cameras` maps names to (height, width); `packed` puts
    all episodes into one Parquet file and one MP4 per camera, as LeRobot writes them; without `actions` there is no
    such column; `noise` [rad] is added to the expert's joint targets.
    """
    cameras = CAMERAS if cameras is None else cameras
    features = lerobot.Features(fps, robot, cameras, state_names(joints, torques), action_names(joints), TASKS)
    rng = np.random.default_rng(seed)
    write(root / lerobot.TASKS_PATH, lerobot.parquet_bytes(lerobot.tasks_table(TASKS)))
    tables: list[pa.Table] = []
    rows: list[pa.Table] = []
    total: lerobot.Stats = {}
    sinks: dict[str, VideoSink] = {}
    first = 0
    for episode in range(episodes):
        if not sinks or not packed:
            sinks = {name: VideoSink(*size, fps) for name, size in cameras.items()}
        before = {name: sink.histogram.copy() for name, sink in sinks.items()}
        frames = length + 2 * (episode % 3)
        columns = _episode(rng, episode % 2, frames, joints, torques, noise, sinks)
        if not actions:
            del columns[lerobot.ACTION]
        columns |= {
            "timestamp": (np.arange(frames) / fps).astype(np.float32),
            "frame_index": np.arange(frames),
            "episode_index": np.full(frames, episode),
            "index": np.arange(first, first + frames),
            lerobot.TASK: np.full(frames, episode % 2),
        }
        stats = lerobot.stats_of_columns(columns)
        for name, sink in sinks.items():
            stats[lerobot.video_key(name)] = lerobot.stats_of_images(sink.histogram - before[name], frames)
        total = lerobot.merge_stats(total, stats)
        table = pa.table([lerobot.column(values) for values in columns.values()], list(columns))
        row = lerobot.episode_row(features, episode, first, frames, [TASKS[episode % 2]], stats).to_pylist()[0]
        if packed:
            row |= {key: 0 for key in row if key.endswith("/file_index")}
            for name in cameras:
                key = f"videos/{lerobot.video_key(name)}"
                row |= {f"{key}/from_timestamp": first / fps, f"{key}/to_timestamp": (first + frames) / fps}
        else:
            files = lerobot.episode_files(root, episode, cameras)
            write(files.data, lerobot.parquet_bytes(table))
            write(files.row, lerobot.parquet_bytes(pa.Table.from_pylist([row])))
            for name, sink in sinks.items():
                write(files.videos[name], sink.close())
        tables.append(table)
        rows.append(pa.Table.from_pylist([row]))
        first += frames
    if packed:
        files = lerobot.episode_files(root, 0, cameras)
        write(files.data, lerobot.parquet_bytes(pa.concat_tables(tables)))
        write(files.row, lerobot.parquet_bytes(pa.concat_tables(rows)))
        for name, sink in sinks.items():
            write(files.videos[name], sink.close())
    info: dict[str, Any] = lerobot.info(features, episodes=episodes, frames=first)
    if not actions:
        del info["features"][lerobot.ACTION]
    stats_as_lists = {key: {name: v.tolist() for name, v in entries.items()} for key, entries in total.items()}
    write(root / lerobot.STATS_PATH, lerobot.json_bytes(stats_as_lists, "stats"))
    write(root / lerobot.INFO_PATH, lerobot.json_bytes(info, "info"))
    return root


def little_video(
    path: Path, frames: int = 40, height: int = 64, width: int = 96, fps: int = FPS, seed: int = 0
) -> Path:
    """Write a plain MP4 of the little cell, without states or actions, and return its path."""
    sink = VideoSink(height, width, fps)
    rng = np.random.default_rng(seed)
    cell = LittleCell(rng, 0)
    start, carton = cell.position[:2].copy(), cell.carton.copy()
    for t in range(frames):
        sink.write(cell.picture("cell", height, width))
        cell.step(expert(cell, t, frames, start, carton))
    write(path, sink.close())
    return path


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _episode(
    rng: np.random.Generator,
    task: int,
    frames: int,
    joints: int,
    torques: bool,
    noise: float,
    sinks: dict[str, VideoSink],
) -> dict[str, np.ndarray]:
    """Let the expert do one episode into the encoders and return its columns."""
    cell = LittleCell(rng, task, joints)
    start, carton = cell.position[:2].copy(), cell.carton.copy()
    states, taken, successes = [], [], []
    for t in range(frames):
        for name, sink in sinks.items():
            sink.write(cell.picture(name, *sink.shape[:2]))
        action = expert(cell, t, frames, start, carton)
        action[:-1] += noise * rng.standard_normal(joints)
        states.append(cell.state(torques))
        taken.append(action)
        cell.step(action)
        successes.append(cell.success)
    done = np.arange(frames) == frames - 1
    return {
        lerobot.STATE: np.array(states, np.float32),
        lerobot.ACTION: np.array(taken, np.float32),
        lerobot.REWARD: np.array(successes, np.float32),
        lerobot.DONE: done,
        lerobot.SUCCESS: np.array(successes) & done,
    }
