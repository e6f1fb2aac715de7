from glob import glob

import numpy
from setuptools import Extension, find_packages, setup

package = "gr2_wbc"
sources = sorted(glob("kernels/*.[ch]"))

setup(
    name=package,
    version="0.1.0",
    description="Whole-body control: chunk splicing, constrained QP, collision avoidance and the safety state machine.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package: ["robots/*/*", "*.pyi"]},
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
    ext_modules=[
        Extension(
            f"{package}._kernels",
            sources=[name for name in sources if name.endswith(".c")],
            depends=sources,
            include_dirs=[numpy.get_include()],
            extra_compile_args=["-O2", "-ffp-contract=off"],
        )
    ],
    data_files=[
        # Among the data so that colcon puts them where it builds.
        (f"share/{package}/kernels", sources),
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": ["wbc_node = gr2_wbc.program:main"],
    },
    zip_safe=False,
)
