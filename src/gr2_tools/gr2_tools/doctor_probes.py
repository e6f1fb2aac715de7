"""What the doctor lets child processes try: each prints one line of JSON. ``python -m gr2_tools.doctor_probes NAME``.

In processes of their own, because they need a clean interpreter (timing), may crash a driver (rendering), change
their scheduling class, or are two sides of a conversation (DDS).
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

SMALL_TOPIC = "/gr2_doctor/small"
IMAGE_TOPIC = "/gr2_doctor/image"
IMAGE_BYTES = 1_000_000
IMAGE_RATE = 30
SMALL_RATE = 200
STREAM_TIME = 1.5  # [s]
TIMER_RATE = 200
TIMER_TIME = 2.0  # [s]
_END = "end"

_SCENE = """<mujoco>
<visual><quality offsamples="0"/></visual>
<worldbody>
  <light pos="0 0 3" castshadow="false"/>
  <geom type="plane" size="2 2 .1" rgba=".3 .5 .3 1"/>
  <body pos="0 0 .3"><geom type="box" size=".2 .2 .2" rgba=".9 .2 .1 1"/></body>
  <camera name="c" pos="0 -1.5 1" xyaxes="1 0 0 0 .5 .9"/>
</worldbody>
</mujoco>"""


def timer() -> dict[str, Any]:
    """Lateness of an absolute 200 Hz loop [s], and whether real-time scheduling is permitted."""
    import numpy as np

    late = []
    origin = time.monotonic()
    for k in range(1, round(TIMER_RATE * TIMER_TIME) + 1):
        deadline = origin + k / TIMER_RATE
        left = deadline - time.monotonic()
        if left > 0:
            time.sleep(left)
        late.append(time.monotonic() - deadline)
    p50, p99 = (float(x) for x in np.percentile(late, [50, 99]))
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        realtime = ""
    except OSError as error:
        realtime = error.strerror or "refused"
    return {"p50": p50, "p99": p99, "max": max(late), "realtime_refused": realtime}


def render() -> dict[str, Any]:
    """Renders a small scene; name of the renderer and time per frame [s]."""
    import mujoco
    import numpy as np
    from OpenGL import GL

    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 256, 256) as renderer:
        name = GL.glGetString(GL.GL_RENDERER)
        frames = 20
        begin = 0.0
        for k in range(frames + 3):
            if k == 3:  # the first ones compile shaders
                begin = time.monotonic()
            renderer.update_scene(data, "c")
            image = renderer.render()
        spent = (time.monotonic() - begin) / frames
    return {
        "renderer": name.decode() if name else "unknown",
        "frame": spent,
        "spread": float(np.std(image)),
        "mujoco": mujoco.__version__,
    }


def nodes() -> dict[str, Any]:
    """Names of the nodes in this domain."""
    import rclpy

    rclpy.init()
    node = rclpy.create_node(f"gr2_doctor_{os.getpid()}")
    time.sleep(1.5)
    found = [f"{space.rstrip('/')}/{name}" for name, space in node.get_node_names_and_namespaces()]
    own = node.get_name()
    rclpy.shutdown()
    return {"nodes": sorted(n for n in found if not n.endswith(own))}


def publish() -> dict[str, Any]:
    """One side of the conversation: small messages, reliable, and 1 MB images, best effort."""
    import rclpy
    from rclpy.duration import Duration
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    rclpy.init()
    node = rclpy.create_node("gr2_doctor_publisher")
    small = node.create_publisher(String, SMALL_TOPIC, 1000)
    images = node.create_publisher(Image, IMAGE_TOPIC, qos_profile_sensor_data)
    image = Image(height=1, width=IMAGE_BYTES, encoding="mono8", step=IMAGE_BYTES)
    image.data.frombytes(bytes(IMAGE_BYTES))
    begin = time.monotonic()
    give_up = begin + 5.0
    while time.monotonic() < give_up and not (small.get_subscription_count() and images.get_subscription_count()):
        time.sleep(0.01)
    discovery = time.monotonic() - begin
    matched = bool(small.get_subscription_count() and images.get_subscription_count())
    time.sleep(0.2)  # the other side has to have found us, too
    sent = {"small": 0, "images": 0}
    origin = time.monotonic()
    for k in range(round(SMALL_RATE * STREAM_TIME)):
        left = origin + k / SMALL_RATE - time.monotonic()
        if left > 0:
            time.sleep(left)
        small.publish(String(data=str(k)))
        sent["small"] += 1
        if k * IMAGE_RATE // SMALL_RATE >= sent["images"]:
            images.publish(image)
            sent["images"] += 1
    time.sleep(0.1)
    small.publish(String(data=_END))
    small.wait_for_all_acked(Duration(seconds=2))
    rclpy.shutdown()
    return {"matched": matched, "discovery": discovery, "sent": sent}


def subscribe() -> dict[str, Any]:
    """The other side: counts what arrives until it is told the end."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image
    from std_msgs.msg import String

    rclpy.init()
    node = rclpy.create_node("gr2_doctor_subscriber")
    got = {"small": 0, "images": 0}
    ended = False

    def on_small(message: String) -> None:
        nonlocal ended
        if message.data == _END:
            ended = True
        else:
            got["small"] += 1

    def on_image(message: bytes) -> None:
        got["images"] += 1

    node.create_subscription(String, SMALL_TOPIC, on_small, 1000)
    node.create_subscription(Image, IMAGE_TOPIC, on_image, qos_profile_sensor_data, raw=True)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    give_up = time.monotonic() + 7.0 + STREAM_TIME
    while not ended and time.monotonic() < give_up:
        executor.spin_once(timeout_sec=0.1)
    rclpy.shutdown()
    return {"got": got}


PROBES = {f.__name__: f for f in (timer, render, nodes, publish, subscribe)}


def main() -> int:
    """Runs the probe named on the command line; failures are results, too."""
    try:
        result = PROBES[sys.argv[1]]()
    except Exception as error:  # noqa: BLE001 - whatever a broken driver or library raises is the finding
        result = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(json.dumps(result), flush=True)
    sys.stdout.flush()
    os._exit(0)  # a broken driver may crash on the way out, after the result


if __name__ == "__main__":
    main()
