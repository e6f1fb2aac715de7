from setuptools import find_packages, setup

package = "gr2_tools"

setup(
    name=package,
    version="0.1.0",
    description="What people use around a running stack: bags, console, film, diagnosis.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package: ["py.typed", "console/page/*"]},
    install_requires=[
        "numpy",
        "PyYAML",
        "lz4",
        "mcap>=1.2",
        "rosbags>=0.11,<0.12",
        "rich",
        "zstandard",
        "viser>=1.1,<2",
        "trimesh",
        "pillow",
        "av",
    ],
    extras_require={"test": ["pytest"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "recorder_node = gr2_tools.recorder_node:main",
            "player_node = gr2_tools.player_node:main",
            "console_node = gr2_tools.console.console_node:main",
        ],
    },
    zip_safe=False,
)
