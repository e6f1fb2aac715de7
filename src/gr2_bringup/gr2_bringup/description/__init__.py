"""The cell in the formats of other programs, URDF and SDFormat, written from the simulator's own model.

The numbers stand once: in ``arm.xml`` and ``robot.yaml`` of gr2_wbc and in the data files of gr2_sim. What this
package writes into the folders ``description`` and ``worlds`` is generated; ``python -m gr2_bringup.description``
writes it again, and a test compares it with its source.
"""
