// Scripts: their fields are made of what the server says about their arguments.

import { fieldOf, held, labelled } from './arguments.js'
import { $, make, offer, save, saved } from './dom.js'
import { field, now, onProblem } from './form.js'
import { server } from './lists.js'

const none = '', plot = 'x/y/z plot', remembered = 'scripts'
let values = saved(remembered, {}) // by script and key of the argument

// captions say in other words what arguments are, by their places, where the script's
// own labels repeat.
const captions = {
  'ultimate sd upscale': {
    3: 'Mask blur of tiles', 4: 'Padding of tiles', 5: 'Width of bands over seams', 6: 'Denoising strength of seams', 7: 'Padding of seams', 9: 'Save the picture',
    10: 'Order of tiles', 11: 'Save the picture with mended seams', 12: 'Mask blur of seams', 13: 'Seams',
  },
}

// keyOf tells apart arguments of one label.
function keyOf(s, i) {
  const { label } = s.args[i]
  const before = s.args.slice(0, i).filter(a => a.label === label).length
  return before ? `${label} ${before + 1}` : label
}

// fill offers the scripts of the chosen mode. Those without arguments are the ones that
// A1111 lists and this server does not have.
export function fill() {
  const img2img = field.mode.value === 'img2img'
  const names = server.scripts.filter(s => !s.is_alwayson && s.is_img2img === img2img && s.args.length > 0).map(s => s.name)
  const before = [...field.script_name.options].map(o => o.value).join()
  if (before === [none, ...names].join()) return
  offer(field.script_name, [[none, 'None'], ...names.map(n => [n, n[0].toUpperCase() + n.slice(1)])])
  show()
}

const script = () => server.scripts.find(s => s.name === field.script_name.value && s.is_img2img === (field.mode.value === 'img2img'))

// set chooses a script with values by label; "" is none.
export function set(name, given = {}) {
  field.script_name.value = name
  Object.assign(values[name] ??= {}, given)
  show()
}

// reset forgets all values, and chooses none.
export function reset() {
  values = {}
  save(remembered, values)
  set(none)
}

// show makes the fields of the chosen script.
export function show() {
  const chosen = script()
  now('scripts', chosen ? chosen.name : '')
  $('script-fields').classList.toggle('plot', chosen?.name === plot)
  $('script-fields').replaceChildren(...(chosen ? rows(chosen) : []))
}

// hidden are arguments that are not entered: headings, and of the plot the lists beside
// its texts.
const hidden = (s, arg, i) => !arg.label || s.name === plot && (Array.isArray(arg.value) || arg.label.startsWith('Use text inputs'))

function rows(s) {
  return s.args.map((arg, i) => hidden(s, arg, i) ? null : row(s, arg, i)).filter(Boolean)
}

function row(s, arg, i) {
  const mine = values[s.name] ??= {}
  const key = keyOf(s, i), label = captions[s.name]?.[i] ?? arg.label
  const input = fieldOf(arg, {
    name: `script_${i}`, value: mine[key] ?? arg.value, choices: arg.label === 'Upscaler' ? server.upscalers : arg.choices,
    ...(typeof arg.value === 'number' ? { min: arg.minimum ?? '', max: arg.maximum ?? '' } : {}),
    ...(/prompt|list/i.test(arg.label) ? { rows: 4 } : {}),
  })
  input.addEventListener('input', () => {
    mine[key] = held(input)
    save(remembered, values)
    if (s.name === plot && arg.choices) show()
  })
  const caption = labelled(label, input)
  const known = s.name === plot && arg.label.endsWith(' values') && knownValues(mine[arg.label.replace('values', 'type')] ?? typeOf(s, arg))
  if (!known) return caption
  const fill = make('button', { type: 'button', textContent: 'All of them', onclick: () => {
    input.value = known.map(quoted).join(', ')
    input.dispatchEvent(new Event('input', { bubbles: true }))
  } })
  return make('div', { className: 'with-button' }, caption, fill)
}

const typeOf = (s, arg) => s.args.find(a => a.label === arg.label.replace('values', 'type')).value

// knownValues are what an axis of the plot can be, where that is a list.
function knownValues(type) {
  return {
    'Sampler': server.samplers, 'Hires sampler': server.samplers, 'Schedule type': server.schedulers,
    'Checkpoint name': server.checkpoints.map(c => c.name), 'VAE': ['Automatic', 'None', ...server.vaes.map(v => v.name)],
    'Styles': server.styles.map(s => s.name), 'Hires upscaler': [...server.latentModes, ...server.upscalers],
  }[type]
}

const quoted = text => /[",]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text

// request is the script of a request; nothing for none.
export function request() {
  const s = script()
  if (!s) return {}
  const mine = values[s.name] ?? {}
  const args = s.args.map((arg, i) => {
    if (s.name === plot && arg.label.startsWith('Use text inputs')) return true
    if (hidden(s, arg, i)) return arg.value
    const value = mine[keyOf(s, i)] ?? arg.value
    return s.name === plot && arg.choices ? arg.choices.indexOf(value) : value // as the script wants it
  })
  return { script_name: s.name, script_args: args }
}

// Messages about values of the plot quote them.
onProblem(message => {
  const [, value] = message.match(/['"](.+?)['"]|: (.+)$/)?.filter(Boolean) ?? []
  return value && script() && [...document.querySelectorAll('#script-fields textarea')].find(box => box.value.includes(value))
})
