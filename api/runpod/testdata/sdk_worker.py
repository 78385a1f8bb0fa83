# A worker on RunPod's own SDK, for the scenarios of runpodtest.
import asyncio

import runpod
from runpod.serverless.modules.rp_progress import progress_update


async def handler(job):
    task = job["input"]
    for i in range(task.get("progress", 0)):
        progress_update(job, i + 1)
        await asyncio.sleep(0.2)
    await asyncio.sleep(task.get("sleep", 0))
    if task.get("error"):
        return {"error": task["error"]}
    return task.get("return")


runpod.serverless.start({"handler": handler})
