"""How a preview is shown: which nodes and runs an orchestration would touch now, and whether it would be accepted."""
