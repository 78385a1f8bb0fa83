// Fields for the arguments of scripts, made of what the server says about them.

import { make, offer } from './dom.js'

// fieldOf is an element for an argument, with its default unless properties have a value.
export function fieldOf(arg, { choices = arg.choices, ...properties }) {
  const { value = arg.value } = properties
  if (typeof arg.value === 'boolean') return make('input', { ...properties, type: 'checkbox', checked: value })
  if (choices) {
    const select = make('select', properties)
    offer(select, choices, value)
    return select
  }
  if (typeof arg.value === 'number') {
    return make('input', { type: 'number', step: arg.step ?? 'any', required: true, inputMode: 'decimal', ...properties, value })
  }
  return make('textarea', { rows: 1, ...properties, value })
}

// held is the value that such an element holds.
export const held = input => input.type === 'checkbox' ? input.checked : input.type === 'number' ? Number(input.value) : input.value

// labelled is an element with its label.
export function labelled(label, input) {
  return input.type === 'checkbox' ? make('label', { className: 'check' }, input, ' ' + label) : make('label', { textContent: label + ' ' }, input)
}
