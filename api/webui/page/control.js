// The units of ControlNet.

import { call } from './api.js'
import { $, choose, later, offer, save, saved } from './dom.js'
import { now, onProblem } from './form.js'
import { server } from './lists.js'
import { dataURL, fromBase64, load } from './pictures.js'
import { Slot } from './slot.js'

const count = 3, remembered = 'control'
const units = []
let starting = true // a picture of before does not switch its unit on

// start makes the units and gives them the values of before the page was loaded.
export async function start() {
  const before = saved(remembered, [])
  for (let i = 0; i < count; i++) {
    const unit = new Unit(i)
    units.push(unit)
    unit.fill()
    unit.set(before[i] ?? {})
    await Promise.all(unit.slots.map(slot => slot.recall()))
  }
  starting = false
  tell()
}

// fill offers the models and preprocessors that there are now.
export function fill() {
  for (const unit of units) unit.fill()
}

// set gives the units values; those that are left over are switched off.
export function set(list) {
  units.forEach((unit, i) => unit.set(list[i] ?? { enabled: false }))
  tell()
}

// reset gives the units the values of the beginning, and no pictures.
export function reset() {
  for (const unit of units) unit.reset()
  tell()
}

// take puts a picture in the first unit without one, and opens it.
export async function take(blob) {
  const unit = units.find(u => !u.picture.blob) ?? units[0]
  await unit.picture.take(blob)
  $('control').open = true
  unit.root.scrollIntoView({ block: 'center' })
}

// args are the units as a request has them; nothing when all are off.
export async function args() {
  const list = await Promise.all(units.filter(u => u.on()).map(u => u.request()))
  return list.length ? { controlnet: { args: list } } : {}
}

function tell() {
  const on = units.filter(u => u.on()).length
  now('control', on ? `${on} on` : '')
  for (const unit of units) unit.tell()
  save(remembered, units.map(u => u.values()))
}

// An IP-Adapter looks at the picture; a ControlNet is guided by what a preprocessor makes of it.
const looks = name => /ip[-_]?adapter/i.test(name)

class Unit {
  constructor(index) {
    this.index = index
    const copy = $('unit-template').content.cloneNode(true)
    this.root = copy.querySelector('.unit')
    this.root.querySelector('legend').textContent = `ControlNet unit ${index + 1}`
    this.root.querySelector('.title').textContent = `Unit ${index + 1}`
    $('units').append(copy)
    const slot = (selector, name, changed = () => {}) => new Slot(this.find(selector), `control-${index}${name}`, problem => {
      this.problem(problem)
      if (starting) return
      if (!problem) changed()
      tell()
    })
    this.picture = slot('.of-picture', '', () => {
      this.find('.made img').hidden = true
      if (this.picture.blob) this.input('enabled').checked = true
    })
    this.mask = slot('.of-mask', '-mask')
    this.region = slot('.of-region', '-region')
    this.slots = [this.picture, this.mask, this.region]
    this.find('.detect').onclick = () => this.detect()
    this.find('.take-out').onclick = () => this.picture.drop()
    this.find('.take-out-masks').onclick = () => { for (const s of [this.mask, this.region]) s.drop() }
    this.root.addEventListener('input', later(0, tell))
    this.input('module').addEventListener('input', () => this.thresholds(true))
    this.input('model').addEventListener('input', () => this.match())
  }

  find(selector) { return this.root.querySelector(selector) }
  input(name) { return this.find(`[data-field=${name}]`) }
  inputs() { return [...this.root.querySelectorAll('[data-field]')] }
  on() { return this.input('enabled').checked }
  problem(text) { this.find('.error').textContent = text }

  fill() {
    offer(this.input('module'), Object.keys(server.modules))
    offer(this.input('model'), server.controls)
    this.thresholds(false)
  }

  // match chooses a preprocessor that goes with the model.
  match() {
    const { model, module } = this.values()
    if (looks(model) === looks(module)) return
    choose(this.input('module'), looks(model) ? 'ip-adapter-auto' : 'none')
    this.thresholds(true)
  }

  set(values) {
    for (const input of this.inputs()) {
      const value = values[input.dataset.field]
      if (value === undefined) continue
      if (input.type === 'checkbox') input.checked = Boolean(value)
      else if (input.tagName === 'SELECT') choose(input, value)
      else if (value !== -1) input.value = value
    }
    this.thresholds(false)
  }

  values() {
    return Object.fromEntries(this.inputs().map(input =>
      [input.dataset.field, input.type === 'checkbox' ? input.checked : input.type === 'number' ? Number(input.value) : input.value]))
  }

  reset() {
    for (const input of this.inputs()) {
      if (input.type === 'checkbox') input.checked = input.defaultChecked
      else if (input.tagName === 'SELECT') input.selectedIndex = Math.max(0, [...input.options].findIndex(o => o.defaultSelected))
      else input.value = input.defaultValue
    }
    this.thresholds(true)
    for (const slot of this.slots) slot.drop()
  }

  // thresholds shows the sliders that a preprocessor has, with its values.
  thresholds(fresh) {
    const sliders = server.modules[this.input('module').value]?.sliders ?? []
    const picture = looks(this.input('module').value)
    this.find('.sized').hidden = picture || sliders.length === 0
    for (const part of this.root.querySelectorAll('.guides, .made, .detect')) part.hidden = picture
    const own = sliders.slice(1)
    this.find('.thresholds').hidden = own.length === 0
    for (const [i, name] of ['threshold_a', 'threshold_b'].entries()) {
      const input = this.input(name), slider = own[i]
      input.parentElement.hidden = !slider
      if (!slider) continue
      input.previousElementSibling.textContent = slider.name
      Object.assign(input, { min: slider.min, max: slider.max, step: slider.step })
      if (fresh || input.value === '') input.value = slider.value
    }
  }

  tell() {
    this.root.classList.toggle('off', !this.on() && !this.picture.blob)
    this.find('.detect').disabled = this.find('.take-out').disabled = !this.picture.blob
    this.find('.take-out-masks').disabled = !this.mask.blob && !this.region.blob
  }

  // detect shows what the preprocessor makes of the picture.
  async detect() {
    const { module, processor_res, threshold_a, threshold_b } = this.values()
    this.problem('')
    try {
      const { images } = await call('POST', 'controlnet/detect', {
        controlnet_module: module, controlnet_input_images: [await dataURL(this.picture.blob)],
        controlnet_processor_res: processor_res, controlnet_threshold_a: threshold_a, controlnet_threshold_b: threshold_b,
      })
      const image = this.find('.made img')
      await load(image, fromBase64(images[0]))
      image.hidden = false
    } catch (problem) {
      this.problem(problem.message)
    }
  }

  async request() {
    const { advanced_weighting: weights, ...unit } = this.values()
    if (weights.trim()) unit.advanced_weighting = weights.split(',').map(Number)
    for (const [name, { blob }] of [['image', this.picture], ['mask', this.mask], ['effective_region_mask', this.region]]) {
      if (blob) unit[name] = await dataURL(blob)
    }
    return unit
  }
}

onProblem(message => {
  const [, i] = message.match(/^ControlNet unit (\d+)/) ?? []
  return units.filter(u => u.on())[i]?.input('model')
})
