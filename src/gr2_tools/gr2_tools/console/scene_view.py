"""The 3-D view: a viser server on this machine alone, without controls of its own; browsers reach it by the tunnel."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import viser

from gr2_tools.console.geometry import Mirror, bodies
from gr2_tools.console.proximity import NearPair

TRAIL = 120  # points
TRAIL_STEP = 0.004  # [m] between them
CHUNK_STEPS = 60  # at most drawn of a chunk
BACKGROUND = (20, 23, 28)
GREY, DONE, AHEAD, TRAIL_COLOUR = (120, 128, 140), (70, 90, 110), (64, 196, 255), (255, 176, 60)
# A sandboxed frame may not start workers from blob: addresses. Where those cannot be made, viser's own page falls back
# to data: addresses, which it may. Its notes about slow graphics would cover the view.
SANDBOX = """<script>{
  const make = URL.createObjectURL;
  URL.createObjectURL = blob => {
    if (/javascript/.test(blob.type)) throw new Error("no workers from blobs in a sandbox");
    return make.call(URL, blob);
  };
}</script><style>.mantine-Notifications-root { display: none; }</style>"""
NEAR, SAFE = (255, 64, 64), (250, 220, 90)


class _SceneServer(viser.ViserServer):
    """Without the button that would publish the scene through somebody else's server."""

    def request_share_url(self, verbose: bool = True) -> str | None:
        """Never."""
        return None


class SceneView:
    """Draws what it is told.

    Args:
        mirror: the posed model; whoever poses it, calls move() then.
        hidden_group: group of geoms that are not drawn.
        base: name of the arm's first body.
        floor: height of the ground grid [m].
    """

    def __init__(self, mirror: Mirror, hidden_group: int, base: str, floor: float = 0.0) -> None:
        self.mirror = mirror
        with redirect_stdout(io.StringIO()):  # it would print an address that is not the console's
            self._server = _SceneServer(host="127.0.0.1", port=0, label="gr2", verbose=False)
        self._trail: deque[np.ndarray] = deque(maxlen=TRAIL)
        scene, gui = self._server.scene, self._server.gui
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        gui.main_panel.minimize()
        scene.set_up_direction("+z")
        scene.configure_default_lights(cast_shadow=False)  # shadows cost most of the drawing
        scene.set_background_image(np.full((2, 2, 3), BACKGROUND, np.uint8))
        scene.add_grid("/grid", width=3.0, height=3.0, cell_size=0.1, section_size=0.5, position=(0.35, 0.0, floor))
        scene.world_axes.visible = False
        self._server.initial_camera.position = (1.35, -1.05, 0.95)
        self._server.initial_camera.look_at = (0.3, 0.0, 0.18)
        self._server.initial_camera.fov = np.deg2rad(42.0)
        self._bodies: list[tuple[int, bool, Any]] = []
        self._poses: dict[int, np.ndarray] = {}
        for body in bodies(mirror.model, hidden_group, base):
            handle = scene.add_mesh_trimesh(f"/bodies/{body.name}", body.mesh)
            handle.visible = body.robot
            self._bodies.append((body.index, body.robot, handle))
        nothing, colour = np.zeros((0, 2, 3)), np.zeros((0, 2, 3), np.uint8)
        self._lines = {
            name: scene.add_line_segments(f"/{name}", nothing, colour, thickness=width, thickness_units="screen")
            for name, width in (("chunk", 5.0), ("trail", 2.5), ("near", 4.0))
        }
        self._end = scene.add_icosphere("/chunk_end", radius=0.009, color=AHEAD, visible=False)
        self._label = scene.add_label("/chunk_label", "", visible=False)
        self._near_label = scene.add_label("/near_label", "", visible=False)
        self._cell_shown = False
        self.move()

    @property
    def port(self) -> int:
        """Where it listens on this machine."""
        return int(self._server.get_port())

    @property
    def watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._server.get_clients())

    def page(self) -> bytes:
        """viser's page, fit for a sandboxed frame."""
        page = (Path(viser.__file__).parent / "client" / "build" / "index.html").read_text(encoding="utf-8")
        return page.replace("<head>", "<head>" + SANDBOX, 1).encode()

    def stop(self) -> None:
        """End the server."""
        with redirect_stdout(io.StringIO()):
            self._server.stop()

    def show_cell(self, shown: bool) -> None:
        """Show the things around the arm, or hide them where nobody says where they are."""
        if shown is self._cell_shown:
            return
        self._cell_shown = shown
        for _, robot, handle in self._bodies:
            if not robot:
                handle.visible = shown

    def move(self) -> None:
        """Bring every body to where the mirror has it; only what has moved is sent."""
        data = self.mirror.data
        for index, _, handle in self._bodies:
            pose = np.concatenate([data.xpos[index], data.xquat[index]])
            before = self._poses.get(index)
            if before is not None and np.abs(pose - before).max() < 2e-4:
                continue
            self._poses[index] = pose
            handle.position, handle.wxyz = pose[:3], pose[3:]

    def trail(self, tool: np.ndarray) -> None:
        """Lengthen the tool's trail to a position (3,) [m]; a jump begins a new one."""
        if self._trail:
            step = float(np.linalg.norm(tool - self._trail[-1]))
            if step < TRAIL_STEP:
                return
            if step > 0.25:
                self._trail.clear()
        self._trail.append(tool)
        points = np.array(self._trail)
        fade = np.linspace(0.15, 1.0, len(points))[:, None] * np.array(TRAIL_COLOUR)
        self._draw("trail", points, fade)

    def chunk(self, positions: np.ndarray | None, done: int, remaining: float) -> None:
        """Draw the path of a chunk.

        Args:
            positions: (k, 3) [m]; None for no chunk.
            done: how many of them are past.
            remaining: [s] until its end.
        """
        shown = positions is not None and len(positions) > 1
        self._end.visible = self._label.visible = shown
        if positions is None or not shown:
            self._draw("chunk", np.zeros((0, 3)), np.zeros((0, 3)))
            return
        every = -(-len(positions) // CHUNK_STEPS)
        colours = np.where((np.arange(len(positions)) < done)[:, None], DONE, AHEAD)
        self._draw("chunk", positions[::every], colours[::every])
        self._end.position = positions[-1]
        self._label.position = positions[-1] + (0.0, 0.0, 0.03)
        self._label.text = f"{remaining:.1f} s"

    def near(self, pairs: Sequence[NearPair]) -> None:
        """Draw the pairs near their margin: yellow, red where little of it is left."""
        points = np.array([[pair.start, pair.end] for pair in pairs]).reshape(-1, 2, 3)
        reds = np.array([[NEAR if pair.margin < 0.01 else SAFE] * 2 for pair in pairs], np.uint8).reshape(-1, 2, 3)
        lines = self._lines["near"]
        lines.points, lines.colors = points.astype(np.float32), reds
        self._near_label.visible = bool(pairs)
        if pairs:
            self._near_label.position = 0.5 * (pairs[0].start + pairs[0].end)
            self._near_label.text = f"{1e3 * pairs[0].distance:.0f} mm"

    def _draw(self, name: str, points: np.ndarray, colours: np.ndarray) -> None:
        lines = self._lines[name]
        lines.points = np.stack([points[:-1], points[1:]], axis=1).astype(np.float32).reshape(-1, 2, 3)
        lines.colors = np.stack([colours[:-1], colours[1:]], axis=1).astype(np.uint8).reshape(-1, 2, 3)
