"""A page in the browser: embed, refine, interpolate, repair and edit images.

`ddim-embed explore` opens it; gradio is needed (`pip install "ddim-embed[explore]"`). A panel is a
module: functions that know no browser, and below them `build`, which lays the panel out.
"""

import os

# Gradio reads these when it is imported: nothing is reported to anyone.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
