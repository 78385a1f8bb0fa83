// What the server has: lists of models and names, which fill the selects of the form.

import { call } from './api.js'
import { bytes, offer } from './dom.js'
import { field, keepDefaults, set } from './form.js'
import * as extensions from './extensions.js'
import * as soft from './soft.js'

// server is what the lists said last.
export const server = {
  options: {}, pictureOptions: [], checkpoints: [], vaes: [], samplers: [], schedulers: [], upscalers: [], latentModes: [],
  loras: [], embeddings: [], hypernetworks: [], styles: [], scripts: [], modules: {}, controls: [], detectors: [], toys: { titles: null },
}

const list = path => call('GET', 'sdapi/v1/' + path)

// load asks for everything and fills the form with the API's defaults.
export async function load() {
  const [api, detail] = await Promise.all([call('GET', 'openapi.json'), call('GET', 'adetailer/v1/schema'), lists()])
  fillDefaults(api, detail)
  fillSelects()
  keepDefaults()
}

// refresh has the server look at its folders again.
export async function refresh() {
  await call('POST', 'sdapi/v1/refresh-checkpoints')
  await lists()
  fillSelects()
}

async function lists() {
  const [options, choices, modes, upscalers, styles, scripts, modules, controls, detectors, hypernetworks, files, toys] = await Promise.all([
    list('options'), call('GET', 'webui/choices.json'), list('latent-upscale-modes'), list('upscalers'),
    list('prompt-styles'), list('script-info'), call('GET', 'controlnet/module_list'),
    call('GET', 'controlnet/model_list'), call('GET', 'adetailer/v1/ad_model'), list('hypernetworks'), call('GET', 'webui/files.json'), call('GET', 'webui/toys.json'),
  ])
  Object.assign(server, {
    options, scripts, hypernetworks,
    toys: { ...toys, titles: toys.titles?.map(unhashed) },
    samplers: choices.samplers, schedulers: choices.schedulers, pictureOptions: choices.options,
    latentModes: modes.map(m => m.name), upscalers: upscalers.map(u => u.name),
    styles: styles.filter(s => s.prompt !== null || s.negative_prompt !== null),
    modules: modules.module_detail, controls: controls.model_list, detectors: detectors.ad_model,
    checkpoints: (files.checkpoints ?? []).map(c => ({ ...c, title: c.name, name: unhashed(c.name) })), vaes: files.vaes ?? [], loras: files.loras ?? [], embeddings: files.embeddings ?? [],
  })
}

function fillDefaults(api, detail) {
  const defaults = route => {
    const ref = api.paths['/sdapi/v1/' + route].post.requestBody.content['application/json'].schema.$ref
    return api.components.schemas[ref.split('/').pop()].properties
  }
  const known = {
    ...detail.properties, ...defaults('extra-single-image'), ...defaults('img2img'), ...defaults('txt2img'), denoising_strength: defaults('img2img').denoising_strength,
  }
  for (const input of field) {
    const value = known[input.name]?.default
    if (value !== undefined && value !== null && input.tagName === 'INPUT' && input.type !== 'checkbox') input.value = value
  }
  field.mask_blur.value = known.mask_blur_x.default
  field.inpaint_full_res.value = String(known.inpaint_full_res.default)
  soft.fill()
  extensions.fill()
  server.sampler = known.sampler_index.default
}

// unhashed is the title of a checkpoint without the hash, which it gets once the file has
// been read: a choice that had one would be lost then.
const unhashed = title => title?.replace(/ \[\w+\]$/, '')

// described is a file's name with its kind and size.
const described = f => [f.name, `${f.title ?? f.name}  (${[f.kind, bytes(f.bytes)].filter(Boolean).join(', ')})`]

function fillSelects() {
  const { options } = server, same = ['', 'As in the first pass']
  const checkpoints = server.checkpoints.map(described)
  const current = select => select.value || undefined
  offer(field.model, checkpoints, current(field.model) ?? unhashed(options.sd_model_checkpoint))
  offer(field.sd_vae, ['Automatic', 'None', ...server.vaes.map(described)], current(field.sd_vae) ?? options.sd_vae)
  offer(field.sampler_name, server.samplers, current(field.sampler_name) ?? server.sampler)
  offer(field.scheduler, server.schedulers)
  offer(field.hr_upscaler, [...server.latentModes, ...server.upscalers])
  offer(field.hr_checkpoint_name, [same, ...checkpoints])
  offer(field.refiner_checkpoint, [['', 'None'], ...checkpoints])
  offer(field.hr_sampler_name, [same, ...server.samplers])
  offer(field.hr_scheduler, [same, ...server.schedulers])
  offer(field.upscaler_1, server.upscalers, current(field.upscaler_1) ?? server.upscalers.find(u => u !== 'None'))
  offer(field.upscaler_2, server.upscalers)
  if (!field.clip_skip.value) set('clip_skip', options.CLIP_stop_at_last_layers)
}
