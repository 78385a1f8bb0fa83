// The form's fields: their values, which outlive a reload, and the errors at them.

import { $, choose, make, save, saved } from './dom.js'

export const form = $('form'), field = form.elements

const remembered = 'form'
const watchers = []

// onChange calls f whenever a value may have changed.
export const onChange = f => watchers.push(f)

// changed tells everyone that values have changed, and remembers them.
export function changed() {
  save(remembered, values())
  form.dataset.mode = field.mode.value
  for (const f of watchers) f()
}

const named = () => [...field].filter(input => input.name && input.type !== 'radio')

export function values() {
  const out = { mode: field.mode.value }
  for (const input of named()) out[input.name] = input.type === 'checkbox' ? input.checked : input.value
  return out
}

// set puts a value into a field and reports whether it takes it.
export function set(name, value) {
  const input = field[name]
  if (!input) return false
  if (input instanceof RadioNodeList) input.value = value
  else if (input.tagName === 'SELECT') return choose(input, value)
  else if (input.type === 'checkbox') input.checked = Boolean(value)
  else input.value = value ?? ''
  return true
}

// recall restores the values of last time, as far as they still exist.
export function recall() {
  for (const [name, value] of Object.entries(saved(remembered, {}))) set(name, value)
}

let standard = {}

// keepDefaults notes the values that reset gives back, which are those now.
export function keepDefaults() { standard = values() }

export function reset() {
  for (const [name, value] of Object.entries(standard)) set(name, value)
}

// number is the value of a field, undefined when it is empty.
export const number = name => field[name].value === '' ? undefined : Number(field[name].value)

// now shows in the heading of a section what is set in it.
export function now(section, text) {
  $(section).querySelector(':scope > summary .now').textContent = text
}

// Errors

export function clearErrors() {
  $('problem').textContent = ''
  for (const input of form.querySelectorAll('[aria-invalid]')) clearError(input)
}

function clearError(input) {
  input.removeAttribute('aria-invalid')
  input.removeAttribute('aria-describedby')
  $(`error-${input.name}`)?.remove()
}

function showError(input, text) {
  clearError(input)
  const message = make('span', { id: `error-${input.name}`, className: 'error', textContent: text })
  const caption = input.closest('.field, label')
  caption.append(message)
  input.setAttribute('aria-invalid', 'true')
  input.setAttribute('aria-describedby', message.id)
  for (let parent = input.closest('details'); parent; parent = parent.parentElement.closest('details')) parent.open = true
}

const finders = []

// onProblem asks find for the field that a message of the server is about, before its words
// are looked at.
export const onProblem = find => finders.push(find)

// valid checks the values as the fields' limits ask, and shows what is wrong.
export function valid() {
  clearErrors()
  const wrong = named().filter(input => shown(input) && !right(input))
  for (const input of wrong) showError(input, input.validationMessage)
  wrong[0]?.focus()
  return wrong.length === 0
}

// right tells whether a field's value is within its limits. The server takes values between
// the steps of fractions.
function right({ validity, step }) {
  return validity.valid || validity.stepMismatch && step < 1 && !validity.rangeUnderflow && !validity.rangeOverflow
}

// shown tells fields of the chosen mode from the others; those of a closed section count.
function shown(input) {
  const only = input.closest('.only')
  return !only || only.classList.contains(field.mode.value)
}

// The words by which errors of the API name fields that are called otherwise.
const words = {
  Sampler: 'sampler_name', upscaler: 'hr_upscaler', denoising_strength: 'denoising_strength', CLIP_stop_at_last_layers: 'clip_skip',
  checkpoint: 'model', VAE: 'sd_vae', resize_mode: 'resize_mode',
}

// showProblem shows an error of the server at the fields that it names, else below the
// button.
export function showProblem(problem) {
  const inputs = new Map(), found = finders.map(find => find(problem.message)).find(Boolean)
  if (found) inputs.set(found, problem.message)
  for (const { name, text } of problem.fields ?? []) {
    const input = inputOf(name)
    if (input) inputs.set(input, text)
  }
  if (inputs.size === 0) {
    const [subject] = problem.message.split(/ must | is | are | not |: /)
    for (const word of subject.match(/\w+/g) ?? []) {
      const input = inputOf(word)
      if (input) inputs.set(input, problem.message)
    }
  }
  for (const [input, text] of inputs) showError(input, text)
  if (inputs.size > 0) inputs.keys().next().value.focus()
  else $('problem').textContent = problem.message
}

function inputOf(name) {
  if (name === 'denoising_strength' && field.mode.value === 'txt2img') name = 'hr_denoising'
  const input = field[words[name] ?? name]
  return input instanceof HTMLElement && shown(input) ? input : undefined
}

form.addEventListener('input', event => {
  if (event.target.getAttribute('aria-invalid')) clearError(event.target)
  changed()
})
