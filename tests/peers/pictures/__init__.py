"""The drawings of the part `pictures`, from what tollgate prints: `terminal` draws a terminal's output, `flow` a configuration's pipelines."""
