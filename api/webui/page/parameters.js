// The parameters text of a picture: shown, and put back into the form.

import { call } from './api.js'
import { fieldOf, held, labelled } from './arguments.js'
import { $, make, offer, save, saved } from './dom.js'
import { changed, field, now, reset, set } from './form.js'
import { server } from './lists.js'
import * as canvas from './canvas.js'
import * as control from './control.js'
import * as detailer from './detailer.js'
import * as extensions from './extensions.js'
import { dataURL } from './pictures.js'
import { setStyles } from './prompt.js'
import * as scripts from './scripts.js'
import * as soft from './soft.js'

// textOf is the parameters text in a picture's file, "" for none.
export async function textOf(blob) {
  const { info } = await call('POST', 'sdapi/v1/png-info', { image: await dataURL(blob) })
  return info ?? ''
}

// split divides a text into prompt, negative prompt and [key, value] pairs, for people
// to read; the server reads it for the form.
export function split(text) {
  const lines = text.trim().split('\n')
  const pairs = [...lines.at(-1).matchAll(/\s*([\p{L}\p{N}_][\p{L}\p{N}_ \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/gu)]
  if (pairs.length < 3) pairs.length = 0
  else lines.pop()
  const [prompt, negative = ''] = lines.join('\n').split(/^Negative prompt: ?/m)
  return { prompt: prompt.trim(), negative: negative.trim(), pairs: pairs.map(([, key, value]) => [key, value.trim()]) }
}

// show puts a text into an element.
export function show(element, text) {
  const { prompt, negative, pairs } = split(text)
  const part = (title, body) => body ? [make('h3', { textContent: title }), make('p', { className: 'text', textContent: body })] : []
  const list = make('dl', {}, ...pairs.flatMap(([key, value]) => [make('dt', { textContent: key }), make('dd', { textContent: value })]))
  element.replaceChildren(...part('Prompt', prompt), ...part('Negative prompt', negative), ...(pairs.length ? [list] : []))
  if (!text) element.replaceChildren(make('p', { className: 'hint', textContent: 'This picture carries no parameters.' }))
}

// use fills the form with all that a text says, and the defaults for the rest. It
// returns sentences about what could not be taken.
export async function use(text) {
  const { fields, overrides, model_hash: hash, model, control: units, details, extensions: others, masked, script, script_name: name } = await call('POST', 'webui/parameters', { text })
  const missing = []
  const mine = field.model.value, vae = field.sd_vae.value
  reset()
  set('model', mine)
  set('sd_vae', vae)
  fillModel(hash, model, missing)

  const { denoising_strength: strength, styles = [], ...rest } = fields
  const fromPicture = strength !== undefined && !fields.enable_hr
  if (!fromPicture) for (const name of ofMasks) delete rest[name] // texts say their defaults by silence
  for (const name of ['refiner_checkpoint', 'hr_checkpoint_name']) { // texts have the name without its ending
    const [, stem, hash] = rest[name]?.match(/^(.*?)(?: \[(\w+)\])?$/) ?? []
    if (stem) rest[name] = checkpointOf(hash, stem)?.name ?? rest[name]
  }
  for (const [name, value] of Object.entries(rest)) {
    if (!field[name] || value === null) continue
    if (!set(name, typeof value === 'boolean' && field[name].tagName === 'SELECT' ? String(value) : value)) {
      missing.push(`${field[name].closest('label').firstChild.textContent.trim()} "${value}" is not here.`)
    }
  }
  if (strength !== undefined) set(fromPicture ? 'denoising_strength' : 'hr_denoising', strength)
  set('mode', fromPicture ? 'img2img' : 'txt2img')
  if (fromPicture && !canvas.has()) missing.push('It was made from a picture, which its file does not hold.')
  fillOverrides(overrides, missing)
  setStyles(styles)
  control.set(units ?? [])
  if (units?.length) missing.push('The pictures of ControlNet are not in the file.')
  detailer.use(details ?? [])
  soft.use(others['soft inpainting'])
  missing.push(...extensions.use(others, masked ?? []))
  changed()
  scripts.fill()
  scripts.set(name, script ?? {})
  $('hires').open ||= Boolean(fields.enable_hr)
  $('variation').open ||= fields.subseed_strength > 0
  return missing
}

const ofMasks = ['mask_blur', 'inpainting_fill', 'inpaint_full_res', 'inpaint_full_res_padding', 'inpainting_mask_invert']

// checkpointOf is the checkpoint that a text means, where it is here.
function checkpointOf(hash, model) {
  const unread = c => !hash || c.title === c.name // the server does not know its hash yet
  return server.checkpoints.find(c => hash && c.title.includes(`[${hash}`)) ??
    server.checkpoints.find(c => unread(c) && c.name.replace(/\.\w+$/, '').split('/').at(-1) === model)
}

function fillModel(hash, model, missing) {
  if (!hash && !model) return
  const found = checkpointOf(hash, model)
  if (found) set('model', found.name)
  else missing.push(`Checkpoint "${model || hash}" is not here.`)
}

// Options that have no field of their own are sent with the request and shown.

const remembered = 'overrides'
let options = saved(remembered, {})

// overrides are the options that the form has beside its fields.
export const overrides = () => options

function fillOverrides({ CLIP_stop_at_last_layers: skip, sd_vae: vae, tiling, cfg_rescale: rescale, step_cache: cache, sd_model_checkpoint: _, ...rest }, missing) {
  if (skip !== undefined) set('clip_skip', skip)
  if (tiling !== undefined) set('tiling', tiling)
  if (rescale !== undefined) set('cfg_rescale', rescale)
  if (cache !== undefined) set('step_cache', cache)
  if (vae !== undefined && !set('sd_vae', vae)) missing.push(`VAE "${vae}" is not here.`)
  setOverrides(rest)
}

export function setOverrides(list) {
  options = list
  showOverrides()
}

// offerOptions lists those that may be added.
export function offerOptions() {
  offer($('option-name'), server.pictureOptions.map(o => o.name))
  showOption()
}

// showOption makes the field for the chosen option's value.
function showOption() {
  const { value, choices } = chosenOption()
  const input = fieldOf({ value, choices }, { id: 'option-value' })
  $('option-value').closest('label').replaceWith(labelled(input.type === 'checkbox' ? 'On' : 'Value', input))
}

const chosenOption = () => server.pictureOptions.find(o => o.name === $('option-name').value)

$('option-name').onchange = showOption
$('add-option').onclick = () => setOverrides({ ...options, [chosenOption().name]: held($('option-value')) })

export function showOverrides() {
  save(remembered, options)
  const names = Object.keys(options)
  now('overrides-section', String(names.length || ''))
  $('overrides').replaceChildren(...names.map(name => make('li', {}, make('button', {
    type: 'button', className: 'chip', textContent: `${name}: ${options[name]}`, title: 'Remove this option',
    onclick: () => {
      delete options[name]
      showOverrides()
    },
  }))))
}
