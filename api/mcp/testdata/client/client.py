"""Drives a server with the official Python client: client.py URL TOKEN"""
import base64
import sys

import anyio
from mcp import ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

url, token = sys.argv[1:]
seen = []


async def progress(done, total, message):
    seen.append((done, total))


async def main():
    async with create_mcp_http_client(headers={"Authorization": "Bearer " + token}) as http:
        async with streamable_http_client(url, http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                tools = {t.name for t in (await session.list_tools()).tools}
                assert {"generate_image", "edit_image", "upscale_image", "list_models", "get_progress", "cancel_job"} <= tools, tools
                args = {"prompt": "a cat", "width": 64, "height": 64, "steps": 5, "seed": 3, "format": "png"}
                result = await session.call_tool("generate_image", args, progress_callback=progress)
                assert not result.is_error, result
                assert result.structured_content["seeds"] == [3], result.structured_content
                image = result.content[0]
                assert (image.type, image.mime_type) == ("image", "image/png"), image
                png = base64.b64decode(image.data)
                assert png.startswith(b"\x89PNG") and b"a cat" in png
                assert seen and all(total == 100 for _, total in seen), seen
                assert [d for d, _ in seen] == sorted(d for d, _ in seen), seen
                again = await session.call_tool("edit_image", {"prompt": "x", "image": image.data, "steps": 1})
                assert not again.is_error and again.content[0].mime_type == "image/jpeg"
                wrong = await session.call_tool("generate_image", {"prompt": "x", "sampler": "nope"})
                assert wrong.is_error and "Sampler not found" in wrong.content[0].text, wrong
                print("ok")


anyio.run(main)
