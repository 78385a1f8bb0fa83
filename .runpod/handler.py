"""Not part of the worker, and never run by it.

RunPod's Hub looks for a handler.py before it lists a repository. The worker of
this repository is a Go program that speaks RunPod's protocol itself; the image
starts it as `worker runpod`. This file does the same for those who start it by
habit with `python handler.py`.
"""

import os

os.execvp("worker", ["worker", "runpod"])
