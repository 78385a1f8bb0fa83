// The units of ControlNet.

import { call } from './api.js'
import { $, choose, later, offer, save, saved } from './dom.js'
import { now } from './form.js'
import { server } from './lists.js'
import { dataURL, fromBase64, load, takesPictures } from './pictures.js'
import { draft, keepDraft } from './storage.js'

const count = 3, remembered = 'control'
const units = []

// start makes the units and gives them the values of before the page was loaded.
export async function start() {
  for (let i = 0; i < count; i++) {
    const unit = new Unit(i)
    units.push(unit)
    unit.fill()
    unit.set(saved(remembered, [])[i] ?? {})
    const kept = await draft(`control-${i}`)
    if (kept) await unit.take(kept).catch(() => {})
  }
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

// take puts a picture in the first unit without one, and opens it.
export async function take(blob) {
  const unit = units.find(u => !u.blob) ?? units[0]
  await unit.take(blob)
  unit.input('enabled').checked = true
  tell()
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
  blob = null

  constructor(index) {
    this.index = index
    const copy = $('unit-template').content.cloneNode(true)
    this.root = copy.querySelector('.unit')
    this.root.querySelector('legend').textContent = `ControlNet unit ${index + 1}`
    this.root.querySelector('.title').textContent = `Unit ${index + 1}`
    $('units').append(copy)
    takesPictures(this.find('label.drop'), blob => this.take(blob).then(() => {
      this.input('enabled').checked = true
      tell()
    }).catch(() => this.problem('This file is no picture that the browser can read.')))
    this.find('.detect').onclick = () => this.detect()
    this.find('.take-out').onclick = () => this.drop()
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
    this.root.classList.toggle('off', !this.on() && !this.blob)
    this.find('.detect').disabled = this.find('.take-out').disabled = !this.blob
  }

  async take(blob) {
    const image = this.find('label.drop img')
    await load(image, blob)
    this.blob = blob
    image.hidden = false
    this.find('.made img').hidden = true
    this.problem('')
    keepDraft(`control-${this.index}`, blob)
    this.tell()
  }

  drop() {
    this.blob = null
    for (const image of this.root.querySelectorAll('img')) image.hidden = true
    keepDraft(`control-${this.index}`, null)
    this.tell()
  }

  // detect shows what the preprocessor makes of the picture.
  async detect() {
    const { module, processor_res, threshold_a, threshold_b } = this.values()
    this.problem('')
    try {
      const { images } = await call('POST', 'controlnet/detect', {
        controlnet_module: module, controlnet_input_images: [await dataURL(this.blob)],
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
    return { ...this.values(), ...(this.blob && { image: await dataURL(this.blob) }) }
  }
}
