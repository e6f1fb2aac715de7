from glob import glob

from setuptools import find_packages, setup

package = "gr2_bringup"

setup(
    name=package,
    version="0.1.0",
    description="What runs and how: the stack as data, launch files, the pip runner and the gr2 command.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package: ["py.typed", "experiments/*.yaml"]},
    install_requires=["pyyaml", "rich"],
    extras_require={"test": ["pytest"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
        (f"share/{package}/launch", glob("launch/*.launch.py")),
        (f"share/{package}/config", glob("config/*")),
        (f"share/{package}/description", glob("description/*.xacro") + glob("description/*.srdf")),
        (f"share/{package}/description/meshes", glob("description/meshes/*.obj")),
        (f"share/{package}/worlds", glob("worlds/*.*")),
        (f"share/{package}/worlds/meshes", glob("worlds/meshes/*.obj")),
    ],
    entry_points={
        "console_scripts": [
            "gr2 = gr2_bringup.cli:main",
            "arm_adapter = gr2_bringup.arm_adapter_node:main",
            "planning_scene_node = gr2_bringup.planning_scene_node:main",
        ],
    },
    zip_safe=False,
)
