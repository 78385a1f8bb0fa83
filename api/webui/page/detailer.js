// ADetailer: parts that a model finds in the finished picture are painted again.

import { $, offer } from './dom.js'
import { field, now, number, onChange, set } from './form.js'
import { server } from './lists.js'

// The fields of a unit that the form has.
const texts = ['ad_model', 'ad_prompt', 'ad_negative_prompt']
const numbers = ['ad_confidence', 'ad_denoising_strength', 'ad_mask_blur', 'ad_dilate_erode', 'ad_inpaint_only_masked_padding']

let more = [] // units of a picture beyond the first, and fields of it that the form lacks

// fill offers the models that there are, and shows nothing where there are none.
export function fill() {
  $('detailer').hidden = server.detectors.length === 0
  offer(field.ad_model, server.detectors)
}

// use takes the units of a picture; none switches it off.
export function use(units) {
  set('ad_enable', units.length > 0)
  for (const [name, value] of Object.entries(units[0] ?? {})) set(name, value)
  more = units
}

// args are the units as a request has them; nothing when it is off.
export function args() {
  if (!field.ad_enable.checked || server.detectors.length === 0) return {}
  const unit = { ...more[0] }
  for (const name of texts) unit[name] = field[name].value
  for (const name of numbers) unit[name] = number(name)
  return { adetailer: { args: [true, false, unit, ...more.slice(1)] } }
}

onChange(() => now('detailer', field.ad_enable.checked ? 'on' : ''))
