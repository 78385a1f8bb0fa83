// The form: what it offers, what it remembers, and the requests it makes.

import { call } from './api.js'
import * as jobs from './jobs.js'
import * as mask from './mask.js'
import * as viewer from './viewer.js'

const $ = id => document.getElementById(id), form = $('form'), field = form.elements

// Theme

const theme = $('theme')
theme.value = localStorage.getItem('theme') || theme.value
const applyTheme = () => {
  document.documentElement.style.colorScheme = theme.value
  localStorage.setItem('theme', theme.value)
}
theme.onchange = applyTheme
applyTheme()

// What the server offers

const offer = (select, values, chosen) => {
  select.replaceChildren(...values.map(v => new Option(v, v, v === chosen, v === chosen)))
}

let cheapPreviews = false, toys = { titles: null }

async function fill() {
  const list = path => call('GET', 'sdapi/v1/' + path)
  const [api, models, samplers, schedulers, modes, upscalers, options] = await Promise.all([
    call('GET', 'openapi.json'), list('sd-models'), list('samplers'), list('schedulers'),
    list('latent-upscale-modes'), list('upscalers'), list('options'),
  ])
  const defaults = route => {
    const ref = api.paths['/sdapi/v1/' + route].post.requestBody.content['application/json'].schema.$ref
    return api.components.schemas[ref.split('/').pop()].properties
  }
  const fields = { ...defaults('img2img'), ...defaults('txt2img'), denoising_strength: defaults('img2img').denoising_strength }
  for (const input of field) {
    const value = fields[input.name]?.default
    if (value !== undefined && input.type !== 'checkbox' && input.tagName === 'INPUT') input.value = value
  }
  field.mask_blur.value = fields.mask_blur_x.default
  offer(field.model, models.map(m => m.title), options.sd_model_checkpoint)
  offer(field.sampler_name, samplers.map(s => s.name), fields.sampler_index.default)
  offer(field.scheduler, schedulers.map(s => s.label))
  offer(field.hr_upscaler, [...modes, ...upscalers].map(u => u.name))
  cheapPreviews = options.show_progress_type.startsWith('Approx')
  toys = await call('GET', 'webui/toys.json')
  if (isToy(options.sd_model_checkpoint)) suitToy()
  recall()
  tellToy()
}

// What the demo model can draw

const isToy = title => toys.titles?.includes(title)

function suitToy() {
  field.width.value = field.height.value = toys.side
  field.steps.value = toys.steps
  field.sampler_name.value = toys.sampler
}

function tellToy() {
  $('toy').hidden = !isToy(field.model.value)
  if ($('toy').hidden || $('toy-prompts').children.length) return
  $('toy-prompts').replaceChildren(...toys.prompts.map(prompt => {
    const button = document.createElement('button')
    button.type = 'button'
    button.textContent = prompt
    button.onclick = () => {
      field.prompt.value = prompt
      suitToy()
      form.oninput()
      form.requestSubmit()
    }
    return button
  }))
}

field.model.onchange = tellToy

// What was entered last time

const remembered = 'form'

function recall() {
  const values = JSON.parse(localStorage.getItem(remembered) || '{}')
  for (const [name, value] of Object.entries(values)) {
    const input = field[name]
    if (!input || input.tagName === 'SELECT' && ![...input.options].some(o => o.value === value)) continue
    if (input.type === 'checkbox') input.checked = value
    else input.value = value
  }
}

form.oninput = () => {
  const values = {}
  for (const input of field) if (input.name) values[input.name] = input.type === 'checkbox' ? input.checked : input.value
  localStorage.setItem(remembered, JSON.stringify(values))
}

// The request

const number = name => field[name].value === '' ? undefined : Number(field[name].value)

function input() {
  const body = {
    prompt: field.prompt.value, negative_prompt: field.negative_prompt.value,
    sampler_name: field.sampler_name.value, scheduler: field.scheduler.value,
    override_settings: {},
  }
  for (const name of ['steps', 'cfg_scale', 'width', 'height', 'batch_size', 'n_iter', 'seed']) body[name] = number(name)
  if (field.model.value) body.override_settings.sd_model_checkpoint = field.model.value
  if (cheapPreviews) body.override_settings.show_progress_every_n_steps = 1 // they cost next to nothing
  return body
}

function imageInput() {
  const body = { ...input(), init_images: [mask.image()], denoising_strength: number('denoising_strength'), resize_mode: number('resize_mode') }
  if (mask.hasMask()) {
    body.mask = mask.mask()
    body.inpaint_full_res = field.inpaint_full_res.value === 'true'
    for (const name of ['mask_blur', 'inpainting_fill', 'inpaint_full_res_padding']) body[name] = number(name)
  }
  return body
}

function textInput() {
  const body = input()
  if (field.enable_hr.checked) {
    Object.assign(body, { enable_hr: true, hr_upscaler: field.hr_upscaler.value, denoising_strength: number('hr_denoising') })
    for (const name of ['hr_scale', 'hr_second_pass_steps']) body[name] = number(name)
  }
  return body
}

form.onsubmit = async event => {
  event.preventDefault()
  $('problem').textContent = ''
  try {
    if (mask.image()) await jobs.submit('img2img', imageInput())
    else await jobs.submit('txt2img', textInput())
  } catch (problem) {
    $('problem').textContent = problem.message
  }
}

form.onkeydown = event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) form.requestSubmit()
}

$('random').onclick = () => {
  field.seed.value = -1
  form.oninput()
}

// The picture to start from

mask.onChange(() => {
  const has = mask.image() !== null
  $('with-image').hidden = !has
  $('with-mask').hidden = !mask.hasMask()
  $('hires').hidden = has
})

const sizes = 64, longest = 768 // beyond it Stable Diffusion 1.x repeats itself

async function startFrom(source) {
  try {
    await mask.load(source)
  } catch {
    mask.remove()
    $('problem').textContent = 'This file is no image that the browser can read.'
    return
  }
  const { width, height } = mask.size(), scale = Math.min(1, longest / Math.max(width, height))
  field.width.value = Math.max(sizes, Math.floor(width * scale / 8) * 8)
  field.height.value = Math.max(sizes, Math.floor(height * scale / 8) * 8)
  $('from-image').open = true
  form.oninput()
}

$('init').onchange = event => { if (event.target.files[0]) startFrom(event.target.files[0]) }
$('clear-mask').onclick = mask.clear
$('no-image').onclick = mask.remove

viewer.on({
  useSeed: seed => {
    field.seed.value = seed
    form.oninput()
  },
  useImage: startFrom,
})

fill().then(jobs.restore).catch(problem => { $('problem').textContent = problem.message })
