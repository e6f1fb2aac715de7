"""The parameters of the policy node, with their defaults. They are read at the start; docs/runtime.md explains them."""

PARAMETERS: dict[str, object] = {
    "policy": "teacher",  # name in the entry-point group gr2.policies
    "policy_options": [""],  # "key=value" strings, given to the policy's factory
    "robot_id": "gen3_2f85",  # what this stack drives; the policy must have been made for it
    "replan_rate": 5.0,  # [Hz] chunks per second of image time
    "image_width": 256,  # [pixel] 0: any
    "image_height": 256,
    "compressed_images": False,  # take /…/image_raw/compressed (JPEG or PNG) in the place of /…/image_raw
    "image_timeout": 1.0,  # [s] a camera silent for longer is reported, and no chunk is made meanwhile
    "autostart": True,
    "handshake": True,  # false: run without a controller, e.g. on a replayed bag; a controller refuses such chunks
    "deadline": 0.0,  # [s] oldest image that a chunk may be published of; 0: half the chunk's length
    "delay": -1.0,  # [s] from an image to its chunk, as the policy is told; negative: as measured
    "imagination_rate": 1.0,  # [Hz] instants to imagine per second, of a policy that can; 0: none
    "surprise_action": "none",  # none, replan (an inference at once) or hold (rest until the world is as expected)
    "surprise_threshold": 6.0,  # score from which on
    "surprise_calm": 3,  # comparisons below half the threshold that end a hold
}
