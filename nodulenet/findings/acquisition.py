"""What tables call the columns that say how a scan was made."""

KNOWN_ACQUISITION = (
    ("manufacturer",),
    ("manufacturer_model_name", "manufacturer_model", "scanner_model", "scanner"),
    ("kernel", "convolution_kernel", "reconstruction_kernel"),
    ("slice_thickness_mm", "slice_thickness"),
    ("slice_spacing_mm", "slice_spacing", "spacing_z_mm", "spacing_z"),
    ("spacing_x_mm", "spacing_xy_mm", "pixel_spacing_mm", "pixel_spacing", "spacing_x"),
    ("kvp", "kvp_kv", "tube_voltage_kv"),
    ("exposure_mas", "exposure", "tube_current_ma", "xray_tube_current_ma"),
    ("contrast_agent", "contrast"),
    ("site", "institution", "centre", "center", "hospital"),
)
"""Names of each kind; the first that a table has is taken."""
