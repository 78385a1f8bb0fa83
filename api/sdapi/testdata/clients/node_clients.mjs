// Drives a server with packages of the npm registry: node node_clients.mjs FOLDER PORT
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [folder, port] = process.argv.slice(2)
const require = createRequire(pathToFileURL(folder + '/'))
const url = `http://127.0.0.1:${port}`

{ // node-sd-webui
  const { default: sdwebui } = await import(pathToFileURL(require.resolve('node-sd-webui')))
  const client = (sdwebui.default ?? sdwebui)({ apiUrl: url })
  const made = await client.txt2img({ prompt: 'a cat', negativePrompt: 'dog', samplingMethod: 'Euler a', width: 64, height: 64, steps: 2, batchSize: 2, seed: 9 })
  assert.equal(made.images.length, 2)
  assert.deepEqual(JSON.parse(made.info).all_seeds, [9, 10])
  const again = await client.img2img({ imageData: made.images.slice(0, 1), prompt: 'a dog', samplingMethod: 'Euler a', width: 64, height: 64, steps: 2 })
  assert.equal(again.images.length, 1)
  const info = await client.pngInfo({ imageData: made.images[0] })
  assert.equal(info.prompt, 'a cat')
  assert.equal(info.seed, 9)
}

for (const name of ['a1111-webui-api', 'stable-diffusion-api']) {
  const { StableDiffusionApi } = require(name)
  const api = new StableDiffusionApi({ host: '127.0.0.1', port: Number(port), protocol: 'http', defaultSampler: 'Euler a', defaultStepCount: 2 })
  const made = await api.txt2img({ prompt: 'a cat', width: 64, height: 64 })
  assert.equal(made.images.length, 1)
  assert.equal((await made.image.metadata()).width, 64)
  const changed = await api.img2img({ init_images: [made.image], prompt: 'a dog', width: 64, height: 64 })
  assert.equal(changed.images.length, 1)
  const large = await api.extraSingle({ image: made.image, upscaler_1: 'Lanczos', upscaling_resize: 2 })
  assert.equal((await large.image.metadata()).width, 128)
  assert.ok((await api.getOptions()).samples_format)
  await api.setOptions({ send_seed: true })
  assert.equal((await api.getProgress()).state.job_count, 0)
  assert.equal(Object.keys(await api.getCmdFlags()).length, 125)
  for (const list of [api.getSamplers(), api.getUpscalers(), api.getSdModels(), api.getFaceRestorers()]) assert.ok((await list).length > 0)
  for (const list of [api.getHypernetworks(), api.getRealesrganModels(), api.getPromptStyles()]) assert.ok(Array.isArray(await list))
  await api.refreshCheckpoints()
  if (name !== 'stable-diffusion-api') { // which reads a key that A1111 does not have
    await api.setModel('other')
    assert.match(await api.getCurrentModel(), /^other/)
  }
  assert.match((await api.ControlNet.getModels()).join(), /^canny \[[0-9a-f]{8}\]$/)
  await assert.rejects(api.txt2img({ prompt: 'x', sampler_name: 'Nope' }))
}

{ // stable-diffusion-client
  const { StableDiffusionApi } = require('stable-diffusion-client')
  const api = new StableDiffusionApi({ host: '127.0.0.1', port: Number(port), protocol: 'http', defaultSampler: 'Euler a', defaultStepCount: 2, baseUrl: url })
  const made = await api.txt2img({ prompt: 'a cat', width: 64, height: 64, sampler_name: 'Euler a', steps: 2 })
  assert.equal(made.images.length, 1)
  assert.ok((await api.getSdModels()).length > 0)
}

{ // modelfusion
  const { automatic1111 } = require('modelfusion')
  const model = (sampler) => automatic1111.ImageGenerator({
    api: automatic1111.Api({ baseUrl: { host: '127.0.0.1', port } }), model: 'other', width: 64, height: 64, steps: 2, sampler,
  })
  const made = await model('Euler a').doGenerateImages({ prompt: 'a cat' }, {})
  assert.equal(made.base64Images.length, 1)
  await assert.rejects(model('Nope').doGenerateImages({ prompt: 'a cat' }, {}), /Sampler not found|HTTPException/)
}
console.log('ok')
