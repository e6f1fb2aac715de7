from setuptools import find_packages, setup

package = "gr2_wbc"

setup(
    name=package,
    version="0.1.0",
    description="Whole-body control: chunk splicing, constrained QP, collision avoidance and the safety state machine.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package: ["robots/*/*"]},
    install_requires=[
        "numpy",
        "scipy",
        "pyyaml",
        "pin>=4.0,<5",
        "mujoco>=3.3,<5",
        "osqp>=1.0,<2",
        "daqp>=0.7",
    ],
    extras_require={"test": ["pytest", "hypothesis"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": ["wbc_node = gr2_wbc.program:main"],
    },
    zip_safe=False,
)
