from setuptools import find_packages, setup

package = "gr2_sim"

setup(
    name=package,
    version="0.1.0",
    description="MuJoCo twin of the Gen3 cell: scenes, tasks, scripted teachers, success checks.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package: ["data/*", "data/*/*"]},
    install_requires=["numpy", "pyyaml", "mujoco>=3.3,<5", "pillow", "gr2_wbc", "gr2_policy"],
    extras_require={"test": ["pytest"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": [
            "sim_node = gr2_sim.sim_node:main",
            "viewer_node = gr2_sim.viewer_node:main",
            "fake_kortex_node = gr2_sim.fake_kortex.fake_kortex_node:main",
        ],
        "gr2.policies": ["teacher = gr2_sim.teacher:make_policy"],
    },
    zip_safe=False,
)
