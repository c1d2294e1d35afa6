"""The fields that the stand-in's real-time interface has: names and types (Universal Robots, RTDE guide)."""

from __future__ import annotations

from sim2real.rtde import Value

REGISTERS = 48  # of each kind

_DOUBLE = (
    "timestamp actual_execution_time speed_scaling target_speed_fraction actual_momentum actual_main_voltage "
    "actual_robot_voltage actual_robot_current standard_analog_input0 standard_analog_input1 standard_analog_output0 "
    "standard_analog_output1 io_current tcp_force_scalar payload tool_analog_input0 tool_analog_input1 "
    "tool_output_current tool_temperature joint_position_deviation_ratio collision_detection_ratio"
)
_VECTOR6D = (
    "target_q target_qd target_qdd target_current target_moment actual_q actual_qd actual_current "
    "actual_current_as_torque joint_control_output actual_TCP_pose actual_TCP_speed actual_TCP_force target_TCP_pose "
    "target_TCP_speed joint_temperatures actual_joint_voltage payload_inertia ft_raw_wrench tcp_offset"
)
_UINT32 = (
    "runtime_state robot_status_bits safety_status_bits analog_io_types tool_mode tool_analog_input_types "
    "output_bit_registers0_to_31 output_bit_registers32_to_63 script_control_line"
)
_INT32 = "robot_mode safety_mode safety_status tool_output_voltage time_scale_source"
OUTPUTS: dict[str, str] = {
    **dict.fromkeys(_DOUBLE.split(), "DOUBLE"),
    **dict.fromkeys(_VECTOR6D.split(), "VECTOR6D"),
    **dict.fromkeys(["actual_tool_accelerometer", "elbow_position", "elbow_velocity", "payload_cog"], "VECTOR3D"),
    **dict.fromkeys(["actual_digital_input_bits", "actual_digital_output_bits"], "UINT64"),
    **dict.fromkeys(_UINT32.split(), "UINT32"),
    **dict.fromkeys(_INT32.split(), "INT32"),
    "joint_mode": "VECTOR6INT32",
    **{f"output_int_register_{i}": "INT32" for i in range(REGISTERS)},
    **{f"output_double_register_{i}": "DOUBLE" for i in range(REGISTERS)},
}
INPUTS: dict[str, str] = {
    "speed_slider_mask": "UINT32",
    "speed_slider_fraction": "DOUBLE",
    "standard_digital_output_mask": "UINT8",
    "standard_digital_output": "UINT8",
    "configurable_digital_output_mask": "UINT8",
    "configurable_digital_output": "UINT8",
    "tool_digital_output_mask": "UINT8",
    "tool_digital_output": "UINT8",
    "standard_analog_output_mask": "UINT8",
    "standard_analog_output_type": "UINT8",
    "standard_analog_output_0": "DOUBLE",
    "standard_analog_output_1": "DOUBLE",
    "external_force_torque": "VECTOR6D",
    "input_bit_registers0_to_31": "UINT32",
    "input_bit_registers32_to_63": "UINT32",
    **{f"input_int_register_{i}": "INT32" for i in range(REGISTERS)},
    **{f"input_double_register_{i}": "DOUBLE" for i in range(REGISTERS)},
}
_ZEROS: dict[str, Value] = {
    "DOUBLE": 0.0,
    "VECTOR6D": (0.0,) * 6,
    "VECTOR3D": (0.0,) * 3,
    "VECTOR6INT32": (0,) * 6,
}


def zeros(fields: dict[str, str]) -> dict[str, Value]:
    """A value for each of `fields`, all zero."""
    return {name: _ZEROS.get(kind, 0) for name, kind in fields.items()}
