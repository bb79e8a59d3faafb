"""The one YAML that describes a run: its schema, and how it is loaded."""
