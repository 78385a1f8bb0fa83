// Soft inpainting: the mask's shades blend the picture with what is painted.

import { field, number, set } from './form.js'
import { server } from './lists.js'

const script = 'soft inpainting'

// names are the fields in the order of the script's arguments, behind the switch.
const names = ['soft_bias', 'soft_preservation', 'soft_contrast', 'soft_influence', 'soft_threshold', 'soft_sharpness']

// fill gives the fields their limits and defaults.
export function fill() {
  const { args } = server.scripts.find(s => s.name === script)
  names.forEach((name, i) => {
    const { value, minimum: min, maximum: max, step } = args[i + 1]
    Object.assign(field[name], { value, min, max, step })
  })
}

// use takes the arguments of a picture; none switches it off.
export function use(args) {
  set('soft_enable', Boolean(args?.[0]))
  names.forEach((name, i) => { if (args) set(name, args[i + 1]) })
}

// args are the arguments as a request has them; nothing when it is off.
export function args() {
  if (!field.soft_enable.checked) return {}
  return { [script]: { args: [true, ...names.map(number)] } }
}
