"""Drives OpenAI's own client against the address in the first argument."""
import base64
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="secret", max_retries=0)
picture, mask = open(sys.argv[2], "rb").read(), open(sys.argv[3], "rb").read()
png = b"\x89PNG"


def generate(**more):
    return client.images.generate(prompt="a fox", size="64x64", extra_body={"steps": 4, "seed": 7}, **more)


reply = generate(model="gpt-image-1", n=2, quality="high", output_format="png")
assert len(reply.data) == 2 and reply.created > 0
assert base64.b64decode(reply.data[0].b64_json).startswith(png)
assert generate(model="dall-e-3").data[0].url.startswith("data:image/png;base64,")
assert generate(response_format="b64_json").data[0].b64_json

events = list(generate(model="gpt-image-1", stream=True, partial_images=2))
assert events[-1].type == "image_generation.completed", events
assert base64.b64decode(events[-1].b64_json).startswith(png)
assert (events[-1].size, events[-1].quality, events[-1].usage.input_tokens) == ("64x64", "auto", 2), events[-1]

reply = client.images.edit(image=picture, mask=mask, prompt="a hat", extra_body={"steps": 4})
assert base64.b64decode(reply.data[0].b64_json).startswith(png)
events = list(client.images.edit(image=[("a.png", picture)], prompt="a hat", stream=True, extra_body={"steps": 4}))
assert events[-1].type == "image_edit.completed", events

reply = client.images.create_variation(image=picture, n=2, response_format="b64_json", extra_body={"steps": 4})
assert len(reply.data) == 2 and base64.b64decode(reply.data[1].b64_json).startswith(png)

models = client.models.list().data
assert [m.id for m in models] == ["v1-5-pruned-emaonly", "other"], models
assert client.models.retrieve("other").owned_by == "local"

try:
    generate(n=11)
    raise AssertionError("n = 11 was taken")
except openai.BadRequestError as e:
    assert e.param == "n" and "from 1 to 10" in str(e), e
try:
    generate(model="none")
    raise AssertionError("a model that is not there was taken")
except openai.NotFoundError as e:
    assert e.code == "model_not_found", e
try:
    openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="wrong", max_retries=0).models.list()
    raise AssertionError("a wrong key was taken")
except openai.AuthenticationError as e:
    assert e.code == "invalid_api_key", e
print("ok")
