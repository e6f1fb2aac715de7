from setuptools import find_packages, setup

package = "gr2_policy"

setup(
    name=package,
    version="0.1.0",
    description="The GR-2 policy: its model, its data and the runtime that turns observations into trajectory chunks.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(exclude=["test", "test.*"]),
    package_data={package: ["py.typed", "configs/*.yaml", "configs/recipes/*.yaml"]},
    install_requires=["numpy", "pyyaml"],
    extras_require={"model": ["rich", "safetensors", "torch", "transformers"], "test": ["pytest"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package}"]),
        (f"share/{package}", ["package.xml"]),
    ],
    entry_points={
        "console_scripts": ["policy_node = gr2_policy.policy_node:main"],
        "gr2.policies": [
            "gr2 = gr2_policy.gr2_backend:make_policy",
            "nearest = gr2_policy.baselines:make_nearest",
            "random = gr2_policy.baselines:make_random",
            "served = gr2_policy.served:make_served",
        ],
    },
    zip_safe=False,
)
